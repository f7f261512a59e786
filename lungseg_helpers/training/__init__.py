"""Losses, what a step is, a run, its weights, and the device it runs on. Stop 04."""

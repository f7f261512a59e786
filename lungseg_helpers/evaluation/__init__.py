"""Scores of a patient and of many, definitions of Dice, diagnosis, and recipes side by side. Stops 05 and 06."""

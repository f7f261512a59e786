"""What the notebooks display, and the checks behind their exercises. All stops."""

"""Pictures and films of a scan with its outlines. Stop 05."""

PLANES = ("axial", "coronal", "sagittal")
"""The ways in which a chest is cut into slices to be looked at."""

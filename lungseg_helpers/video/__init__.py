"""Pictures and films of a scan with its outlines. Stop 05."""

PLANES = ("axial", "coronal", "sagittal")
"""The ways in which a chest is cut into slices to be looked at."""

RANGES = {"frames_per_second": (1, 60), "width": (320, 1920), "pause_s": (0, 10), "slab_mm": (0, 200)}
"""The least and the most of each option of a film: frames per second, pixels, seconds, mm of a projection."""

SPEED, WIDTH, PAUSE_S = 10, 960, 1.5
"""What a film has where nobody asks for anything else: frames per second, pixels, seconds on the fullest slice."""

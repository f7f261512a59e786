"""From a scan to a stack of slices on disk, and the grid that leads back. Stop 01."""

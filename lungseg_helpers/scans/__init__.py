"""What a scan is: its voxels, geometry, formats and faults. Stop 01."""

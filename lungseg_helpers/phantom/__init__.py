"""Patients that never lived: digital chests with tumours, from a seed. Stop 01."""

PHANTOMS, UNLABELLED_PHANTOMS = 60, 4
"""Cases of the default phantom set: as many as two ordinary cores make in three minutes. More of the same seed begin
with the same patients."""

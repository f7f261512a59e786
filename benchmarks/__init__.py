"""Measurements side by side: ``make bench`` runs them all, ``python -m benchmarks NAME`` some.

Each module has ``rows()``, which measures and returns :class:`~benchmarks.table.Row` objects.
A performance figure is a ratio of two things done in one run on one machine.
"""

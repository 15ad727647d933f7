"""Measurements, side by side with peers or with the physical limit; never part of the tests."""

"""Measurements, which are run by hand and compare, and never fail by the clock."""

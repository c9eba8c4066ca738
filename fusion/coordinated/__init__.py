"""Coordinated spaces: a vector per feature, all in one space, so that any finds any other."""

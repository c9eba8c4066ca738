"""Bytes -> decoded media, under limits. Pillow, PyAV and numpy only: decoder processes stay small."""

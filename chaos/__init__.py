"""Attacks on whole runs: media mutated at random. What must hold is checked, and counted in a page."""

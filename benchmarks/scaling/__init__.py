"""How cost grows with records and with workers: `python -m benchmarks.scaling`."""

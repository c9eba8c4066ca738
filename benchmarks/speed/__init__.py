"""Time, memory and accuracy beside other systems: `python -m benchmarks.speed`; see docs/speed.md."""

"""What a person runs: commands, the demo, the doctor. Wires; owns no logic."""

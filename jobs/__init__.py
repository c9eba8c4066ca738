"""What a person runs: commands, reports, the sample. Wires; owns no logic."""

"""The commands, one in each file: its options, its questions to the gate, and its exit code."""

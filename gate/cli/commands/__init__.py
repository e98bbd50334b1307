"""One command a file: its options, what it asks the gate, and its exit code."""

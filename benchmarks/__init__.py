"""Measures the cost of the gate against a comparison. Both sides run alternately, in the same run."""

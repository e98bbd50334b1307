"""The execution service: takes intents from a stream, and writes one result for each. `gate run` starts it."""

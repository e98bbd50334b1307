"""The output for a person at a terminal: rows, words and colours. Nothing here asks the store."""

"""What a person reads in a terminal: rows, words and colours. Nothing here asks the store."""

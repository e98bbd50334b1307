"""Keys, scripts, calls and replies, as they travel to the store and back. No I/O."""

"""What goes to the store and what comes back, as bytes: keys, scripts, calls and replies. No I/O."""

"""The exchange's streams: what happens, in the shapes of its events, and who listens to it. No sockets."""

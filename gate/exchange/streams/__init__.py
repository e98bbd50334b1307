"""A live account from the exchange's streams: connections, events, snapshots, and the figures that they give."""

"""Redis and Valkey servers for the tests: where they come from, and how to hold one.

`choice` decides between a given URL, containers and the embedded server; `process` and `container` each run one kind.
"""

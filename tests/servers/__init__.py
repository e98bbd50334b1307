"""Redis and Valkey servers for the tests.

`choice` decides between a given URL, containers and the embedded server; `process` and `container` each run one kind.
"""

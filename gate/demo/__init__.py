"""The story that `gate demo` tells, on an embedded store and a paper exchange."""

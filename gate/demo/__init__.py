"""The whole story on an embedded store and a paper exchange: what `gate demo` tells."""

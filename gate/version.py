"""The version of this code: the only place that says it. The build reads it from here."""

__version__ = "0.1.0"

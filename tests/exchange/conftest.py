"""The desk fixture for the tests of this folder."""

from tests.executor.conftest import desk, open_desk, paper

__all__ = ["desk", "open_desk", "paper"]

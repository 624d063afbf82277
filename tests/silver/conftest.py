"""A data folder with every migration, which the stack of these tests copies."""

from tests.stack.conftest import applied

__all__ = ["applied"]

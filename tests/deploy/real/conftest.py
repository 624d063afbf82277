"""The stack's own fixtures, for parts that are held against a running one."""

from tests.stack.conftest import kafka, medallion, state_home

__all__ = ["kafka", "medallion", "state_home"]

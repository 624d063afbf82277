"""The stack's fixtures, which the fault tests share."""

from tests.stack.conftest import kafka, medallion, state_home

__all__ = ["kafka", "medallion", "state_home"]

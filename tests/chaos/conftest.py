"""The stack's fixtures, which the fault tests share."""

from tests.stack.conftest import applied, kafka, medallion, state_home

__all__ = ["applied", "kafka", "medallion", "state_home"]

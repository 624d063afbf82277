"""An in-memory broker for a test module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.embedded.broker import InMemoryBroker


@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    """`host:port` of a broker of its own."""
    broker = InMemoryBroker()
    yield broker.bootstrap_servers
    broker.close()

"""One node of a cluster for the tests over shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.offload.commands.shards import node_of_a_cluster
from tests.offload.conftest import Node


@pytest.fixture(scope="package")
def cluster_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the node may read."""
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="package")
def cluster_node(cluster_folder: Path) -> Iterator[Node]:
    """A node that knows the cluster of one shard and the cluster of two."""
    with node_of_a_cluster(cluster_folder) as node:
        yield node

"""Bronze shards and the partitions they are in: so many partitions carry data, and so many workers have work."""

from __future__ import annotations

import zlib
from itertools import count


def partition_of(shard: int, partitions: int) -> int:
    """Where a Bronze shard's messages are: librdkafka's partitioner `consistent_random` over the key that is its number
    (rdkafka_msg.c, rd_kafka_msg_partitioner_consistent: CRC-32 modulo the count)."""
    return zlib.crc32(str(shard).encode()) % partitions


def shards_for(workers: int, partitions: int) -> int:
    """The fewest shards with which so many Silver workers have work, as far as there are partitions.

    Each further partition with data is one more insert a cycle.
    """
    reached: set[int] = set()
    for shard in count():
        reached.add(partition_of(shard, partitions))
        if len(reached) >= min(workers, partitions):
            return shard + 1
    raise AssertionError("the numbers do not end")

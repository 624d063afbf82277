"""Bronze shards and their partitions. A partition without a shard gets no messages, so its worker has no work."""

from __future__ import annotations

import zlib
from itertools import count


def partition_of(shard: int, partitions: int) -> int:
    """The partition of a Bronze shard's messages.

    Their key is the shard's number. librdkafka's partitioner `consistent_random` takes the key's CRC-32 modulo the
    partition count (rdkafka_msg.c, rd_kafka_msg_partitioner_consistent).
    """
    return zlib.crc32(str(shard).encode()) % partitions


def shards_for(workers: int, partitions: int) -> int:
    """The least number of shards that fill as many partitions as there are workers (or partitions, if these are fewer).

    Fewer shards are better: every partition with messages costs an insert in each cycle.
    """
    reached: set[int] = set()
    for shard in count():
        reached.add(partition_of(shard, partitions))
        if len(reached) >= min(workers, partitions):
            return shard + 1
    raise AssertionError("count() does not end")

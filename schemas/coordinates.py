"""The raw coordinates: the columns that identify a raw message in every layer after Raw."""

from __future__ import annotations

# With the Kafka timestamp, since a broker that has forgotten its offsets gives the same ones again.
COORDINATES = ("raw_topic", "raw_partition", "raw_offset", "published_at")

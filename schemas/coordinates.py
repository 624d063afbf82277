"""The raw coordinates: the columns that identify a raw message in every layer after Raw."""

from __future__ import annotations

# The Kafka timestamp tells apart two lives of a broker that forgets its offsets.
COORDINATES = ("raw_topic", "raw_partition", "raw_offset", "published_at")

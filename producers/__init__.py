"""Exchange messages to raw envelopes, and raw envelopes to Kafka."""

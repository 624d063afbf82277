"""Trades as Kafka messages: envelope, publisher, flow control, back-pressure; may import `exchanges` and the base."""

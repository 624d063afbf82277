"""Publishes trades as Kafka messages: envelope, publisher, flow control, back-pressure. May import `exchanges` and base
modules.
"""

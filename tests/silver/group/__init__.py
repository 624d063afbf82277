"""The consumer group: who owns which partition."""

"""From a partition's messages to Silver."""

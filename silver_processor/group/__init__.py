"""The worker's membership in its consumer group: transport, assignment, backlog. May import `retry`."""

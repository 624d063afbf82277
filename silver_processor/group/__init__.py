"""The worker's membership in its consumer group: app, assignment, backlog. May import `config` only."""

"""The worker's consumer group: the Faust app, the assignment, the backlog. May import `config` only."""

"""The deployed stack: configuration of its containers, and the job that prepares its lakehouse.

May import `config` and `deploy.embedded`."""

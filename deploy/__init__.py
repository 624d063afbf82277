"""How the services are run. May import every package but `cli`."""

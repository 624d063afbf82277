"""How the services are run."""

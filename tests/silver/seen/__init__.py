"""Which trades Silver already has."""

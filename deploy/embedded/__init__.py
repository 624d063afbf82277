"""The whole pipeline on one machine, from PyPI packages alone."""

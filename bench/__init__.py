"""Measurements of the pipeline on this machine: `python -m bench`."""

"""Schedules of series and quality checks: their file, state, runs, service and Prefect flows.

May import the rest of `series`."""

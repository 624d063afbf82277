"""Series and quality checks that run by themselves: what a schedule is, its state, runs, service and Prefect flows."""

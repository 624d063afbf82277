"""Series and quality checks that run by themselves: what a schedule is, its state, its runs and their service."""

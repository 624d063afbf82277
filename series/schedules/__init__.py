"""Series that are brought up to date by themselves: what a schedule is, its state, its runs and their service."""

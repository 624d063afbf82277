"""`medallion doctor`: what is wrong with the host or the stack, and the remedy. A check is one function."""

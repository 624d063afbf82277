"""`medallion doctor`: finds what is wrong with the host or the stack, and names the remedy. A check is one function.

Of `cli` it may import only `common` and the rest of `stack`."""

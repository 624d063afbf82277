"""`python -m cli`, the same as `medallion`."""

from cli.main import main

main()

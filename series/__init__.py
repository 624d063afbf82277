"""Series that venues publish ready-made: their own bars, funding rates, a sentiment index.

May import `producers`, `schemas` and `config`."""

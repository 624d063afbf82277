"""The rules of Silver, as pure functions of Arrow tables and polars frames. May import `schemas` and `config` only."""

"""The numbered SQL migrations, the runner that applies them, and what a user of the database may do.

May import `config`, `schemas`, and of `series` the declarations."""

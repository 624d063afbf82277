"""Makes the allocators of a process return memory soon after it was used."""

from __future__ import annotations

import os

# PyArrow's own pool keeps what a large block took: 30 to 60 MB a process. The C library returns large blocks at once.
# chDB's jemalloc keeps unused pages for 5 s by default: merges and inserts come more often, so it never returns them.
_VARIABLES = {"ARROW_DEFAULT_MEMORY_POOL": "system", "JE_MALLOC_CONF": "dirty_decay_ms:1000"}


def return_soon() -> None:
    """Configure PyArrow and chDB by their environment variables. Call it before either is imported.

    A variable that is set already is kept. Subprocesses inherit the variables.
    """
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)

"""`python -m deploy.embedded.clickhouse`: the node as a process."""

from __future__ import annotations

import sys

from config.process.allocators import return_soon
from config.process.optional_imports import PANDAS, RICH, do_without

if __name__ == "__main__":
    do_without(PANDAS, RICH)
    return_soon()
    from deploy.embedded.clickhouse.process import main

    sys.exit(main())

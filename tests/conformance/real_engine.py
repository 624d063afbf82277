"""Runs in .venv-conformance: statements on the engine that has real Kafka tables. JSON in on stdin, JSON out on stdout.

Input: `{"run": [sql], "feed": sql or null, "read": likewise, "rows": n}`. Statements are run in order; `feed` and
`read` are repeated until `n` distinct rows came (a direct read gives what one poll brought, and may give it again).
Output: the rows.
"""

import json
import os
import sys
import time

import chdb

_SECONDS = 60


def main() -> None:
    # librdkafka and the engine print; the answer needs a stdout of its own.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = json.load(sys.stdin)
    connection = chdb.connect(":memory:")
    for sql in job["run"]:
        connection.query(sql)
    rows: dict[str, None] = {}
    deadline = time.monotonic() + _SECONDS
    while job["read"] and len(rows) < job["rows"] and time.monotonic() < deadline:
        if job["feed"]:
            connection.query(job["feed"])
        rows |= dict.fromkeys(connection.query(job["read"], "JSONCompactEachRow").bytes().decode().splitlines())
    answer.write(json.dumps([json.loads(row) for row in rows]))
    answer.flush()
    # Leave without the engine's shutdown, which waits for Kafka consumers; inserts into a sink were synchronous.
    os._exit(0)


if __name__ == "__main__":
    main()

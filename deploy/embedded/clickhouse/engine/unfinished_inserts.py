"""Makes the engine forget insert tokens whose rows it does not have.

ClickHouse writes the token of an insert to the table's deduplication log, then renames the new part from its temporary
name (MergeTreeSink). If the node is killed in between, the engine knows the token and does not have the rows. It would
ignore the repeated insert, and the rows would be lost. One lock covers both steps, so the block number of such a part
is higher than that of every renamed part. A replicated table does both steps at once, in Keeper.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_LOGS = "store/*/*/deduplication_logs"
_ADDED, _DROPPED = "1", "2"
# Partition, first and last block, level, and the mutation if there was one.
_PART = re.compile(r"[^_]+_\d+_(?P<last>\d+)_\d+(_\d+)?")
_FILE = re.compile(r"deduplication_log_(?P<number>\d+)\.txt")


def forget_unfinished(store: Path) -> Iterator[dict[str, str]]:
    """Note in the deduplication logs that such parts were dropped. Call it before the engine opens the store.

    Yields:
        for each part: `table` (its folder), `part` and `token` (as the log names it).

    Raises:
        OSError: a log cannot be read or written.
    """
    for folder in sorted(store.glob(_LOGS)):
        files = [(int(found["number"]), file) for file in folder.iterdir() if (found := _FILE.fullmatch(file.name))]
        if not files:
            continue
        highest = max((_last_block(part.name) for part in folder.parent.iterdir()), default=-1)
        logs = [file.read_text(encoding="utf-8", errors="surrogateescape") for _, file in sorted(files)]
        lost = [(token, part) for token, part in _known("".join(logs)).items() if _last_block(part) > highest]
        with max(files)[1].open("a", encoding="utf-8", errors="surrogateescape") as newest:
            for token, part in lost:
                newest.write(f"{_DROPPED}\t{part}\t{token}\n")
                yield {"table": str(folder.parent), "part": part, "token": token}


def _known(log: str) -> dict[str, str]:
    """Token → part, as the engine reads its log."""
    known: dict[str, str] = {}
    for line in log.splitlines():
        operation, _, rest = line.partition("\t")
        part, _, token = rest.partition("\t")
        if operation == _ADDED:
            known[token] = part
        elif operation == _DROPPED:
            known.pop(token, None)
    return known


def _last_block(name: str) -> int:
    """The last block of a part; -1 if the name is no part's."""
    found = _PART.fullmatch(name)
    return int(found["last"]) if found else -1

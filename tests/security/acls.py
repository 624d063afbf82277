"""The users and grants that compose's `create-users.sh` asks for, recorded with an `rpk` that writes down its calls."""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "deploy/compose/redpanda/create-users.sh"
RPK = """#!/bin/sh
if [ "$1 $2 $3" = "security user list" ]; then
    echo "USERNAME"
    for user in $EXISTING; do echo "$user"; done
    exit "${LIST_EXIT:-0}"
fi
for argument in "$@"; do printf '%s\\037' "$argument" >> "$RECORD"; done
printf '\\n' >> "$RECORD"
"""


@dataclass(frozen=True)
class Grant:
    """One operation of one user on one resource; `kind` is topic, group or cluster."""

    user: str
    operation: str
    kind: str
    name: str
    is_prefix: bool


@dataclass(frozen=True)
class Asked:
    """What one run of the script did."""

    code: int
    calls: list[list[str]]

    @property
    def passwords(self) -> dict[str, str]:
        """Of the users it creates."""
        users = [call for call in self.calls if call[:3] == ["security", "user", "create"]]
        return {call[3]: call[call.index("--password") + 1] for call in users}

    @property
    def grants(self) -> set[Grant]:
        """All of them, one an operation and resource."""
        calls = [call[3:] for call in self.calls if call[:3] == ["security", "acl", "create"]]
        return {grant for call in calls for grant in _grants(call)}


def _grants(arguments: list[str]) -> list[Grant]:
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--allow-principal", required=True)
    parser.add_argument("--operation", required=True)
    parser.add_argument("--topic", default="")
    parser.add_argument("--group", default="")
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("--resource-pattern-type", choices=["literal", "prefixed"], default="literal")
    given = parser.parse_args(arguments)
    resources = [
        *(("topic", name) for name in given.topic.split(",") if name),
        *(("group", name) for name in given.group.split(",") if name),
        *([("cluster", "kafka-cluster")] if given.cluster else []),
    ]
    return [
        Grant(
            given.allow_principal.removeprefix("User:"),
            operation,
            kind,
            name,
            given.resource_pattern_type == "prefixed",
        )
        for operation, (kind, name) in product(given.operation.split(","), resources)
    ]


def ask(folder: Path, environment: Mapping[str, str], existing: tuple[str, ...] = ()) -> Asked:
    """Run the script with `environment`, on a broker that has the users `existing`."""
    rpk, record = folder / "rpk", folder / "record"
    rpk.write_text(RPK)
    rpk.chmod(0o755)
    record.unlink(missing_ok=True)
    variables = {
        **environment,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "RECORD": str(record),
        "EXISTING": " ".join(existing),
    }
    done = subprocess.run(["bash", str(SCRIPT)], check=False, env=variables, capture_output=True, text=True)
    lines = record.read_text().splitlines() if record.exists() else []
    return Asked(done.returncode, [line.rstrip("\037").split("\037") for line in lines])

"""What the clients' own suites find refused is explained to the user, too."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tests.node.clients.compatibility import HOW_TO_GET, REFUSED, Outcome, explain

DOCS = Path(__file__).resolve().parents[3] / "docs" / "clients.md"


def test_every_reason_is_in_the_document() -> None:
    refused = yaml.safe_load(REFUSED.read_text())
    assert refused.keys() == HOW_TO_GET.keys()
    text = " ".join(DOCS.read_text().split())
    missing = [entry["reason"] for entries in refused.values() for entry in entries if entry["reason"] not in text]
    assert missing == []
    assert all(command.split(" https")[0] in text for command in HOW_TO_GET.values())


def test_a_failure_without_a_reason_and_a_reason_without_a_failure_are_told() -> None:
    suite = "clickhouse-driver"
    named = [pattern for entry in yaml.safe_load(REFUSED.read_text())[suite] for pattern in entry["tests"]]
    assert all(re.compile(pattern) for pattern in named)
    told = explain(suite, Outcome(1, 0, ("tests.test_new.NewTestCase::test_new",)))
    assert any("test_new fails" in line for line in told)
    assert sum("no longer true" in line for line in told) == len(named)

"""create-topics.sh, run for real with an `rpk` that writes down what it was asked."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings

RPK = """#!/bin/sh
if [ "$1 $2" = "topic list" ]; then
    echo "NAME PARTITIONS REPLICAS"
    for topic in $EXISTING; do echo "$topic 4 1"; done
    exit "${LIST_EXIT:-0}"
fi
printf '%s\\n' "$*" >> "$RECORD"
"""


@dataclass(frozen=True)
class Run:
    """What one run of the script did."""

    code: int
    calls: list[list[str]]

    def topics(self, verb: str) -> dict[str, list[str]]:
        return {call[2]: call[3:] for call in self.calls if call[:2] == ["topic", verb]}


@pytest.fixture
def create_topics(root: Path, services: dict[str, Any], tmp_path: Path) -> Any:
    rpk = tmp_path / "rpk"
    rpk.write_text(RPK)
    rpk.chmod(0o755)

    def run(existing: tuple[str, ...] = (), **changed: str) -> Run:
        record = tmp_path / "record"
        record.unlink(missing_ok=True)
        environment = {
            **services["topics"]["environment"],
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "RECORD": str(record),
            "EXISTING": " ".join(existing),
            **changed,
        }
        script = root / "deploy/compose/redpanda/create-topics.sh"
        done = subprocess.run(["bash", str(script)], check=False, env=environment, capture_output=True, text=True)
        calls = record.read_text().splitlines() if record.exists() else []
        return Run(done.returncode, [call.split() for call in calls])

    return run


def wanted(settings: Settings) -> set[str]:
    return {*settings.raw_topics, settings.bronze_topic, settings.dlq_topic, settings.gaps_topic}


@pytest.mark.parametrize("exchanges", [",".join(Settings().exchanges), "kraken", " binance , kraken,", "a_b"])
def test_creates_exactly_the_topics_that_settings_name(create_topics: Any, exchanges: str) -> None:
    done = create_topics(MEDALLION_EXCHANGES=exchanges)
    assert done.code == 0
    assert set(done.topics("create")) == wanted(Settings(exchanges=exchanges))  # type: ignore[arg-type]


def test_partitions_retention_and_size_are_explicit(create_topics: Any) -> None:
    settings = Settings()
    for topic, options in create_topics().topics("create").items():
        partitions = int(options[options.index("--partitions") + 1])
        assert partitions == (
            4 if topic.startswith("market.crypto.trades.") and not topic.endswith((".dlq", ".unlisted.raw")) else 1
        ), topic
        given = dict(option.removeprefix("--topic-config=").split("=") for option in options if "=" in option)
        hours = int(given["retention.ms"]) / 3_600_000
        assert hours == (168 if topic in {settings.dlq_topic, settings.gaps_topic} else 48), topic
        assert int(given["retention.bytes"]) >= 1 << 30, topic
        assert given["max.message.bytes"] == str(settings.kafka_max_message_bytes), topic
        assert given["cleanup.policy"] == "delete", topic
        assert given["write.caching"] == "false", topic


def test_a_second_run_changes_settings_and_creates_nothing(create_topics: Any) -> None:
    everything = tuple(sorted(wanted(Settings())))
    done = create_topics(existing=everything)
    assert done.code == 0
    assert done.topics("create") == {}
    assert set(done.topics("alter-config")) == set(everything)


def test_a_new_exchange_gets_its_topic_and_the_others_stay(create_topics: Any) -> None:
    old = wanted(Settings(exchanges=("kraken",)))
    done = create_topics(existing=tuple(old), MEDALLION_EXCHANGES="kraken,okx")
    assert set(done.topics("create")) == {Settings().raw_topic("okx")}


def test_a_topic_is_not_taken_for_another_that_contains_its_name(create_topics: Any) -> None:
    dlq = Settings().dlq_topic
    done = create_topics(existing=(f"{dlq}.old", f"old.{dlq}", dlq.replace(".", "-")))
    assert dlq in done.topics("create")


def test_automatic_topics_are_off_before_the_first_topic_exists(create_topics: Any) -> None:
    calls = create_topics().calls
    assert calls.index(["cluster", "config", "set", "auto_create_topics_enabled", "false"]) < min(
        position for position, call in enumerate(calls) if call[0] == "topic"
    )


@pytest.mark.parametrize("changed", [{"LIST_EXIT": "1"}, {"RAW_PARTITIONS": ""}, {"MEDALLION_BRONZE_TOPIC": ""}])
def test_fails_where_it_cannot_know_what_to_do(create_topics: Any, changed: dict[str, str]) -> None:
    done = create_topics(**changed)
    assert done.code != 0
    assert not done.topics("create")

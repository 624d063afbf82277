"""Users and grants of the compose stack's broker: what `create-users.sh` asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.settings import Settings
from tests.security.acls import Asked, Grant, ask

SETTINGS = Settings()
BRONZE, DLQ, GAPS = SETTINGS.bronze_topic, SETTINGS.dlq_topic, SETTINGS.gaps_topic
RAW = set(SETTINGS.raw_topics)


def topics(asked: Asked, user: str, operation: str) -> set[str]:
    return {one.name for one in asked.grants if (one.user, one.operation, one.kind) == (user, operation, "topic")}


def test_every_user_has_a_password_of_its_own(asked: Asked) -> None:
    assert asked.code == 0
    assert set(asked.passwords) == {"producer", "clickhouse", "silver", "operator", "console"}
    assert len(set(asked.passwords.values())) == 5


def test_each_writes_and_reads_its_side_of_the_flow_only(asked: Asked) -> None:
    assert topics(asked, "producer", "write") == RAW | {GAPS}
    assert topics(asked, "producer", "read") == set()
    assert topics(asked, "clickhouse", "read") == RAW | {DLQ, GAPS}
    assert topics(asked, "clickhouse", "write") == {BRONZE}
    assert topics(asked, "silver", "read") == {BRONZE}
    assert topics(asked, "silver", "write") == {DLQ}
    # `replay`, `backfill` and `smoke` publish as a producer does; `rederive` and `dlq accept` send dead letters.
    assert topics(asked, "operator", "write") == RAW | {GAPS, DLQ}
    assert topics(asked, "console", "write") == set()


def test_groups_belong_to_one_user(asked: Asked) -> None:
    groups = {(one.user, one.name) for one in asked.grants if one.kind == "group" and one.operation == "read"}
    assert groups == {
        ("clickhouse", SETTINGS.raw_consumer_group),
        ("clickhouse", SETTINGS.dlq_consumer_group),
        ("clickhouse", SETTINGS.gaps_consumer_group),
        ("silver", SETTINGS.silver_consumer_group),
    }


def test_nobody_may_create_delete_or_alter(asked: Asked) -> None:
    allowed = {"read", "write", "describe", "describe-configs", "idempotent-write"}
    assert {one.operation for one in asked.grants} == allowed
    assert not [one for one in asked.grants if one.name == "*" and one.operation != "describe"]
    assert {one.user for one in asked.grants if one.is_prefix} == {"operator", "console"}


def test_a_second_run_sets_passwords_again(users_environment: dict[str, str], tmp_path: Path) -> None:
    """So that a password is changed by changing `.env` and running the job again."""
    done = ask(tmp_path, users_environment, existing=("admin", "producer", "silver"))
    changed = {call[3]: call[call.index("--new-password") + 1] for call in done.calls if call[2] == "update"}
    assert set(changed) == {"producer", "silver"}
    assert set(done.passwords) == {"clickhouse", "operator", "console"}
    assert changed["producer"] == users_environment["KAFKA_PRODUCER_PASSWORD"]


@pytest.mark.parametrize("missing", ["KAFKA_SILVER_PASSWORD", "MEDALLION_BRONZE_TOPIC"])
def test_fails_where_something_is_missing(users_environment: dict[str, str], tmp_path: Path, missing: str) -> None:
    done = ask(tmp_path, {**users_environment, missing: ""})
    assert done.code != 0
    assert not done.calls


def test_a_listed_exchange_is_granted(users_environment: dict[str, str], tmp_path: Path) -> None:
    done = ask(tmp_path, {**users_environment, "MEDALLION_EXCHANGES": "kraken, okx"})
    names = {"kraken", "okx", "unlisted"}
    written = {f"market.crypto.trades.{name}.raw" for name in names} | {GAPS}
    assert topics(done, "producer", "write") == written
    assert Grant("clickhouse", "read", "topic", "market.crypto.trades.okx.raw", is_prefix=False) in done.grants

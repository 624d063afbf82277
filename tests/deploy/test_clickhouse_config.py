"""server.xml and users.xml, read by the real engine the way the server merges `config.d` and `users.d`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from ddl.analyst import listed_tables
from ddl.readers import readers_database

PASSWORDS = {
    "CLICKHOUSE_DDL_PASSWORD": "d1",
    "CLICKHOUSE_INGEST_PASSWORD": "i2",
    "CLICKHOUSE_ANALYST_PASSWORD": "a3",
    "CLICKHOUSE_SERVING_PASSWORD": "s7",
    "KAFKA_CLICKHOUSE_PASSWORD": "k4",
    "OBJECT_STORE_ACCESS_KEY": "o5",
    "OBJECT_STORE_SECRET_KEY": "o6",
}
# What the image ships of users, as far as our file builds on it.
USERS = """<clickhouse>
    <profiles><default/></profiles>
    <users><default>
        <password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
        <access_management>1</access_management>
    </default></users>
    <quotas><default><interval><duration>3600</duration></interval></default></quotas>
</clickhouse>"""
PROBE = """
import json, sys
import chdb
connection = chdb.connect(sys.argv[1])
answers = {name: connection.query(sql, "JSONCompact").data() for name, sql in json.load(sys.stdin).items()}
with open(sys.argv[2], "w") as file:
    json.dump({name: json.loads(text)["data"] for name, text in answers.items() if text}, file)
"""
QUESTIONS = {
    "users": "SELECT name, auth_type, host_ip, host_names, default_roles_all FROM system.users",
    "analyst": "SHOW GRANTS FOR analyst",
    "serving": "SHOW GRANTS FOR serving",
    "ingest": "SHOW GRANTS FOR ingest",
    "ddl": "SHOW GRANTS FOR ddl",
    "profile": "SELECT setting_name, value, max FROM system.settings_profile_elements WHERE profile_name = 'analyst'",
    "profiles": "SELECT user_name, inherit_profile FROM system.settings_profile_elements WHERE user_name IS NOT NULL",
    "policies": "SELECT database, table, select_filter, apply_to_all, apply_to_list FROM system.row_policies",
    "quotas": "SELECT name, apply_to_list FROM system.quotas",
    "limits": "SELECT quota_name, max_queries, max_read_rows, max_execution_time FROM system.quota_limits",
    "settings": "SELECT name, value FROM system.settings WHERE changed",
    "merge_tree": "SELECT name, value FROM system.merge_tree_settings WHERE changed",
    "server": "SELECT name, value FROM system.server_settings WHERE changed",
    "known": "SELECT name FROM system.server_settings",
    "zone": "SELECT timezone()",
    "parts": "SELECT value FROM system.merge_tree_settings WHERE name = 'parts_to_delay_insert'",
    "macros": "SELECT macro, substitution FROM system.macros",
    "clusters": "SELECT cluster, shard_num, host_name FROM system.clusters ORDER BY shard_num, replica_num",
    "noted": "SYSTEM FLUSH LOGS",
    "logs": "SELECT name, engine_full FROM system.tables WHERE database = 'system' AND engine LIKE '%MergeTree'",
    "events": "SELECT event FROM system.events SETTINGS system_events_show_zero_values = 1",
}


def ask(
    root: Path, folder: Path, environment: dict[str, str], extra: Mapping[str, str] | None = None
) -> dict[str, list[list[Any]]] | None:
    """The engine's answers, None where it does not start. A process of its own: the engine is one a process.

    `extra`: more files, path below the folder → text.
    """
    (folder / "config.d").mkdir(parents=True)
    (folder / "users.d").mkdir()
    server = (root / "deploy/compose/clickhouse/server.xml").read_text()
    (folder / "config.xml").write_text(server.replace("/var/lib/clickhouse/", f"{folder}/data/"))
    (folder / "users.xml").write_text(USERS)
    shutil.copy(root / "deploy/compose/clickhouse/users.xml", folder / "users.d/medallion.xml")
    for name, text in (extra or {}).items():
        (folder / name).write_text(text)
    target, answers = f"{folder}/data?config-file={folder}/config.xml", folder / "answers.json"
    subprocess.run(
        [sys.executable, "-c", PROBE, target, str(answers)],
        check=False,
        input=json.dumps(QUESTIONS),
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return json.loads(answers.read_text()) if answers.exists() else None


@pytest.fixture(scope="module")
def answers(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[Any]]]:
    found = ask(root, tmp_path_factory.mktemp("clickhouse") / "server", PASSWORDS)
    assert found is not None, "the engine does not start with these files"
    return found


def test_compose_insists_on_every_password(root: Path, unresolved: dict[str, Any]) -> None:
    """The server itself takes a missing variable for an empty password, so Compose must not let it come to that."""
    files = [(root / "deploy/compose/clickhouse" / name).read_text() for name in ("server.xml", "users.xml")]
    wanted = {name for text in files for name in re.findall(r'from_env="(\w+)"', text)}
    given = unresolved["services"]["clickhouse"]["environment"]
    assert wanted == set(PASSWORDS)
    assert all(given[name].startswith(f"${{{name}:?") for name in wanted)


def test_the_user_without_a_password_stays_in_the_container(answers: dict[str, list[list[Any]]]) -> None:
    hosts = {name: (ip, names) for name, _, ip, names, _ in answers["users"]}
    assert set(hosts) == {"default", "ddl", "ingest", "analyst", "serving"}
    ip, names = hosts["default"]
    assert set(ip) <= {"127.0.0.1", "::1"}
    assert names in ([], ["localhost"])
    assert ip or names, "no host at all would mean every host"


def grants(answers: dict[str, list[list[Any]]], user: str) -> str:
    return "\n".join(row[0] for row in answers[user])


def test_the_analyst_reads_and_nothing_else(answers: dict[str, list[list[Any]]]) -> None:
    assert set(grants(answers, "analyst").splitlines()) == {
        "GRANT SELECT ON medallion.* TO analyst",
        "GRANT SELECT ON pin_*.* TO analyst",
    }
    profile = {name: (value, maximum) for name, value, maximum in answers["profile"]}
    assert profile["readonly"] == ("2", None)
    for setting in ("max_memory_usage", "max_execution_time", "max_threads"):
        value, maximum = profile[setting]
        assert value == maximum is not None, f"{setting} can be raised"


def test_show_tables_lists_to_the_analyst_what_a_day_takes(answers: dict[str, list[list[Any]]]) -> None:
    """To everybody else all: the server writes a filter of 1 for a user who has none beside one who has."""
    assert {(database, table, for_all) for database, table, _, for_all, _ in answers["policies"]} == {
        ("system", "tables", 0)
    }
    filters = {user: condition for _, _, condition, _, users in answers["policies"] for user in users}
    shown = filters.pop("analyst")
    assert set(filters.values()) == {"1"}
    assert re.fullmatch(r"database NOT IN \(.*\) OR name IN \(.*\)", shown)
    names = ("medallion", readers_database(Settings()), *listed_tables())
    assert re.findall(r"'(\w+)'", shown) == list(names)


def test_the_page_reads_what_the_analyst_reads_within_the_same_limits(answers: dict[str, list[list[Any]]]) -> None:
    assert grants(answers, "serving") == grants(answers, "analyst").replace("TO analyst", "TO serving")
    assert ["serving", "analyst"] in answers["profiles"]


def test_the_analyst_has_a_quota(answers: dict[str, list[list[Any]]]) -> None:
    assert ["analyst", ["analyst"]] in answers["quotas"]
    limits = {name: rest for name, *rest in answers["limits"]}
    assert all(limits["analyst"])
    assert limits["unlimited"] == [None, None, None]


def test_services_write_rows_and_only_migrations_create_tables(answers: dict[str, list[list[Any]]]) -> None:
    ingest, ddl = grants(answers, "ingest"), grants(answers, "ddl")
    assert "INSERT" in ingest
    assert not any(word in ingest for word in ("CREATE TABLE", "DROP TABLE", "CREATE USER", "KAFKA"))
    # The offload makes the views of hot and cold rows and of pins: only it knows where the warehouse is.
    assert all(privilege in ingest for privilege in ("CREATE VIEW", "DROP VIEW", "S3"))
    (of_pins,) = (line for line in ingest.splitlines() if "CREATE DATABASE" in line)
    assert of_pins.endswith(" ON pin_*.* TO ingest")
    for privilege in ("CREATE DATABASE", "CREATE TABLE", "CREATE VIEW", "DROP TABLE", "ALTER TABLE", "ALTER VIEW"):
        assert privilege in ddl, privilege
    assert "KAFKA" in ddl
    for text in (ingest, ddl):
        assert "GRANT OPTION" not in text
        assert not any(word in text for word in ("ACCESS MANAGEMENT", "CREATE USER", "IMPERSONATE", "NAMED COLLECTION"))


def test_inserts_are_deduplicated_through_the_views(answers: dict[str, list[list[Any]]]) -> None:
    settings = dict(answers["settings"])
    assert settings["deduplicate_insert"] == "enable"
    assert settings["deduplicate_blocks_in_dependent_materialized_views"] == "1"
    assert settings["max_partitions_per_insert_block"] == "0"
    assert settings.get("async_insert", "0") == "0"
    assert settings.get("materialized_views_ignore_errors", "0") == "0"
    merge_tree = dict(answers["merge_tree"])
    assert merge_tree["non_replicated_deduplication_window"] == str(Settings().deduplication_window)
    assert merge_tree["fsync_after_insert"] == merge_tree["fsync_part_directory"] == "1"


def test_memory_is_capped_below_the_container(answers: dict[str, list[list[Any]]], services: dict[str, Any]) -> None:
    server = dict(answers["server"])
    limit = int(services["clickhouse"]["deploy"]["resources"]["limits"]["memory"].removesuffix("M")) * 1024**2
    caches = sum(int(server[name]) for name in ("mark_cache_size", "index_mark_cache_size", "uncompressed_cache_size"))
    assert int(server["max_server_memory_usage"]) < 0.85 * limit
    assert caches < 0.25 * limit
    assert int(dict(answers["settings"])["max_memory_usage"]) < int(server["max_server_memory_usage"])


def test_pool_limits_let_the_server_start(answers: dict[str, list[list[Any]]]) -> None:
    """The server refuses to start where a threshold exceeds pool size times ratio."""
    server, merge_tree = dict(answers["server"]), dict(answers["merge_tree"])
    pool = int(server["background_pool_size"]) * float(server["background_merges_mutations_concurrency_ratio"])
    thresholds = {name: int(value) for name, value in merge_tree.items() if name.startswith("number_of_free_entries")}
    assert len(thresholds) == 3
    assert all(value <= pool for value in thresholds.values())


def test_the_server_counts_in_utc(answers: dict[str, list[list[Any]]], root: Path) -> None:
    """The engine in-process takes the zone from TZ; the server from this element."""
    assert "<timezone>UTC</timezone>" in (root / "deploy/compose/clickhouse/server.xml").read_text()
    assert answers["zone"][0][0] in {"UTC", "Etc/UTC"}


def test_alerts_name_events_that_the_engine_counts(answers: dict[str, list[list[Any]]], root: Path) -> None:
    rules = (root / "deploy/compose/prometheus/rules/medallion.yml").read_text()
    named = set(re.findall(r"ClickHouseProfileEvents_(\w+)", rules))
    assert named
    assert named <= {row[0] for row in answers["events"]}


def test_what_the_server_notes_about_itself_ends(answers: dict[str, list[list[Any]]]) -> None:
    """In the engine: query_log at least is there, and no log is without an end."""
    kept = dict(answers["logs"])
    assert "query_log" in kept
    assert not {name for name, engine in kept.items() if "TTL event_date + toIntervalDay(7)" not in engine}


# Of the fast tier: the others here, which read the same files.
@pytest.mark.nightly
def test_the_login_to_a_broker_outside_is_read(root: Path, tmp_path: Path) -> None:
    """docker-compose.kafka.yml's file on top of the server's: the engine takes the two together."""
    extra = {"config.d/medallion_kafka.xml": (root / "deploy/compose/clickhouse/kafka.xml").read_text()}
    told = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512"}
    assert ask(root, tmp_path / "server", PASSWORDS | told, extra) is not None


def test_the_image_adds_no_log_of_its_own(root: Path, services: dict[str, Any]) -> None:
    """A log exists if the configuration names it. The image's names more with each release; ours takes its place."""
    mounted = dict(volume.split(":")[:2][::-1] for volume in services["clickhouse"]["volumes"])
    server = mounted["/etc/clickhouse-server/config.xml"]
    logs = [element for element in ET.parse(root / server).getroot() if element.tag.endswith("_log")]
    assert logs
    for log in logs:
        assert log.findtext("ttl") == "event_date + INTERVAL 7 DAY DELETE", log.tag
    assert not [path for path in mounted if path.startswith("/etc/clickhouse-server/config.d")]


def test_the_parts_alert_fires_before_inserts_are_slowed_down(answers: dict[str, list[list[Any]]], root: Path) -> None:
    rules = (root / "deploy/compose/prometheus/rules/medallion.yml").read_text()
    threshold = re.search(r"MaxPartCountForPartition > (\d+)", rules)
    assert threshold is not None
    assert int(threshold[1]) < int(answers["parts"][0][0])

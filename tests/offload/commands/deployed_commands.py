"""Every command of the command line: run by `test_deployed_grants.py` as its user, or excused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import typer.main

from cli.main import app

_SECURE = (
    "security/test_secure_pipeline.py::test_trades_and_dead_letters_pass_with_every_connection_encrypted_and_named"
)


@dataclass(frozen=True)
class Excuse:
    """Why a command is not run there, and the test (`file::name` in `tests`) that runs it, or holds what it needs."""

    why: str
    test: str


_EMBEDDED = "It starts and stops an embedded stack, which has users of its own."
_BROKER = "It asks the broker alone, or for more than ClickHouse: there it is run as the broker's user `operator`."
EXCUSED = {
    "demo": Excuse(_EMBEDDED, "docs/test_runbooks.py::test_the_readme_does_what_it_says"),
    "up": Excuse(_EMBEDDED, "stack/operation/test_lifecycle.py::test_down_leaves_no_process_and_loses_no_row"),
    "down": Excuse(_EMBEDDED, "stack/operation/test_lifecycle.py::test_down_leaves_no_process_and_loses_no_row"),
    "status": Excuse(_BROKER, _SECURE),
    "drain": Excuse(_BROKER, _SECURE),
    "backfill": Excuse(_BROKER, _SECURE),
    "smoke": Excuse(
        "It waits for a whole pipeline. Of ClickHouse it asks what `query` and `offload run` do, run here; its message "
        "goes to a topic that `operator` may write.",
        "security/test_users.py::test_each_writes_and_reads_its_side_of_the_flow_only",
    ),
    "produce": Excuse(
        "It never asks ClickHouse. What the broker's user `producer` may write, `replay` writes in its name there.",
        _SECURE,
    ),
    "doctor": Excuse(
        "It checks a whole stack. Its check of grants is run in a test of its own.",
        "offload/commands/test_deployed_grants.py::test_the_doctor_finds_what_a_user_lacks",
    ),
    "alert test": Excuse("It asks Alertmanager alone.", "cli/test_alerts.py::test_a_test_alert_reaches_the_receiver"),
    "serve": Excuse(
        "It runs until it is stopped, as ClickHouse's user `serving`, who may do what `analyst` may.",
        "deploy/test_clickhouse_config.py::test_the_page_reads_what_the_analyst_reads_within_the_same_limits",
    ),
    "offload serve": Excuse(
        "It runs until it is stopped; a turn of it is `offload run`, `gate` and `maintain`, run here.",
        "offload/hourly/test_service.py::test_the_command_ends_well_on_sigterm",
    ),
    "schedule serve": Excuse(
        "It runs until it is stopped; a turn of it is `schedule run`, run here.",
        "series/test_schedules.py::test_the_service_runs_what_is_due_repeats_what_failed_and_leaves_out_what_is_paused",
    ),
    "ddl apply": Excuse("Kafka tables need a broker. Every other statement of it is run here by user `ddl`.", _SECURE),
    "ddl status": Excuse(
        "It compares what `ddl apply` wrote down. What it reads, user `ddl` may read.",
        "deploy/test_clickhouse_config.py::test_services_write_rows_and_only_migrations_create_tables",
    ),
    "symbols build": Excuse(
        "It asks exchanges and no server of ours.",
        "producers/test_symbols_command.py::test_build_writes_what_it_said_and_then_has_nothing_to_say",
    ),
}
# Commands that end with exit code 1 here, and the words with which they say why: no worker takes what is sent, and the
# bars are made up.
ENDS_WITH = {"dlq replay": "on their way", "quality check": "differ"}


def leaves(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The words of every command that does something: `pin create`."""
    command = command or typer.main.get_command(app)
    if not hasattr(command, "list_commands"):
        yield " ".join(path)
        return
    context = typer.Context(command)
    for name in command.list_commands(context):
        yield from leaves(command.resolve_command(context, [name])[1], (*path, name))


def as_ingest(span: tuple[str, ...], trade: Mapping[str, str], files: str) -> list[tuple[str, ...]]:
    """What the services `medallion` and `schedules` are asked to do, by people and by the runbooks, in an order that
    works.

    `span`: options `--from` and `--to` of the trades. `trade`: `exchange`, `symbol` and `trade_id` of one of them.
    `files`: folder of Binance's daily files of bars.
    """
    exchange = ("--exchange", trade["exchange"])
    start = span[1] if span else ""
    market = (*exchange, "--symbol", trade["symbol"])
    bar = (f"exchange={trade['exchange']}", f"symbol={trade['symbol']}", "frame=1m", f"window_start={start}")
    return [
        ("ddl", "render"),
        ("symbols", "list"),
        ("symbols", "check"),
        ("query", "SELECT count() FROM trades"),
        ("chart", trade["symbol"], *exchange),
        ("offload", "run"),
        ("offload", "status"),
        ("offload", "verify"),
        ("offload", "views"),
        ("offload", "gate"),
        ("offload", "maintain"),
        ("pin", "create", "loss"),
        ("pin", "list"),
        ("query", "--pin", "loss", "SELECT count() FROM silver_trades"),
        ("pin", "show", "loss", "--views"),
        ("pin", "diff", "loss"),
        ("pin", "repair", "--yes"),
        ("lineage", "verify"),
        ("lineage", "trace", *market, "--trade-id", trade["trade_id"]),
        ("replay", *exchange, "--from", "2026-01-05T10:00:00", "--to", "2026-01-05T13:00:00"),
        ("replay", *exchange, "--from", "2026-01-05T10:00:00", "--to", "2026-01-05T13:00:00", "--pin", "loss"),
        # Restore from Iceberg.
        ("query", "TRUNCATE TABLE silver_trades"),
        ("query", "INSERT INTO silver_trades SELECT * FROM pin_loss.silver_trades"),
        ("pin", "drop", "loss"),
        ("dlq", "list"),
        ("dlq", "list", "--resolved"),
        ("dlq", "stats"),
        ("dlq", "show"),
        ("dlq", "accept", *market, "--yes"),
        ("dlq", "replay", "--reason", "quantity_above_limit", "--yes", "--timeout", "1"),
        ("rederive", *span, *exchange, "--dry-run"),
        ("rederive", *span, *exchange),
        ("rederive", *span, *exchange, "--from-layer", "raw"),
        ("dlq", "withdraw", *market, trade["trade_id"], "--yes"),
        ("series", "run", "bars", *market, "--source", files, *span),
        ("series", "list"),
        ("series", "schema", "bars"),
        ("lineage", "series", "bars", *bar),
        ("coverage", *exchange),
        ("quality", "check", *span, *market),
        ("schedule", "list"),
        ("schedule", "pause", "quality"),
        ("schedule", "resume", "quality"),
        ("schedule", "run", "quality"),
    ]

"""One dead letter in full: the raw message, the Bronze row, and the rule that rejects it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver import Client
from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cli.common.context import shown
from cli.common.statements import rows
from config.visible import visible, visible_line
from schemas.coordinates import COORDINATES
from schemas.records import BRONZE
from silver_processor.core.versions import ABOUT_VERSIONS, CONTENT

_RULE = ("reason", "field", "value", "rule", "limit", "rules_version", "processor_version", "rejected_at")


@dataclass(frozen=True)
class ShownLetter:
    """A dead letter and the rows it belongs to.

    `raw`: `message` (text, or bytes where it is not UTF-8; at most 64 KiB), `bytes` (its full length) and `source`
    (`trades_raw`, or `dead letter` where Raw no longer has it). `bronze`: the row, and `source` (`bronze_trades` or
    `dead letter`). `held`: Silver's row of the trade if the dead letter is another version of it, else empty.
    `resolution`: empty while the dead letter is open.
    """

    coordinates: Mapping[str, Any]
    rule: Mapping[str, Any]
    raw: Mapping[str, Any]
    bronze: Mapping[str, Any]
    held: Mapping[str, Any]
    resolution: Mapping[str, Any]


def load(client: Client, filters: Mapping[str, object]) -> list[ShownLetter]:
    """The dead letters that match `filters` (see `cli/sql/dlq_show.sql`), newest first."""
    return [_complete(client, record) for record in rows(client, "dlq_show", filters)]


def _complete(client: Client, record: Mapping[str, Any]) -> ShownLetter:
    published: datetime = record["published_at"]
    place = {
        "topic": record["raw_topic"],
        "partition": record["raw_partition"],
        "offset": record["raw_offset"],
        "published_ms": round(published.replace(tzinfo=published.tzinfo or UTC).timestamp() * 1000),
    }
    raw = rows(client, "dlq_show_raw", place)
    bronze = rows(client, "dlq_show_bronze", place)
    landed = record["landed"]
    named = {name: record[name] for name in ("exchange", "symbol", "trade_id")}
    held = rows(client, "dlq_show_held", named) if record["reason"] in ABOUT_VERSIONS else []
    return ShownLetter(
        coordinates={name: record[name] for name in COORDINATES},
        rule={name: record[name] for name in _RULE},
        raw={**raw[0], "source": "trades_raw"} if raw else _recorded(record),
        bronze={**bronze[0], "source": "bronze_trades"}
        if bronze
        else {**{name: record[name] for name in BRONZE.names}, "source": "dead letter"},
        held=held[0] if held else {},
        resolution={name: record[name] for name in ("landed", "sent_at", "replay_rules_version")} if landed else {},
    )


def _recorded(record: Mapping[str, Any]) -> dict[str, Any]:
    payload = record["payload"]
    message = base64.b64decode(payload) if record["payload_encoding"] == "base64" else payload
    return {"message": message, "bytes": record["payload_bytes"], "source": "dead letter"}


def panels(letter: ShownLetter) -> RenderableType:
    """Raw message, Bronze row and rule side by side."""
    place = letter.coordinates
    title = f"{place['raw_topic']}[{place['raw_partition']}]@{place['raw_offset']} published {place['published_at']}"
    grid = Table.grid(expand=True, padding=(0, 1, 0, 0))
    fields = letter.rule["field"].split(", ")
    panels = [
        Panel(_message(letter.raw), title=f"Raw message, {letter.raw['bytes']:,} bytes ({letter.raw['source']})"),
        Panel(_fields(letter.bronze, fields), title=f"Bronze row ({letter.bronze['source']})"),
        Panel(_fields(letter.rule, ["value", "limit"] if letter.held else ["value"]), title="Rule"),
    ]
    if letter.held:
        differing = [name for name, bronze in CONTENT.items() if bronze in fields]
        panels.append(Panel(_fields(letter.held, differing), title="What Silver has"))
    for _ in panels:
        grid.add_column(ratio=4, overflow="fold")
    grid.add_row(*panels)
    if not letter.resolution:
        return Group(Text(visible_line(title), style="bold"), grid)
    note = "resolved: sent again {sent_at}, now in {landed} by rules {replay_rules_version}".format(**letter.resolution)
    return Group(Text(visible_line(f"{title}, {note}"), style="bold green"), grid)


def _message(raw: Mapping[str, Any]) -> Text:
    message = raw["message"]
    return Text(visible(message.decode("utf-8", errors="backslashreplace") if isinstance(message, bytes) else message))


def _fields(values: Mapping[str, Any], marked: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE, show_header=False, expand=True, padding=(0, 1, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        if name != "source":
            table.add_row(name, Text(shown(str(value)), style="bold red" if name in marked else ""))
    return table

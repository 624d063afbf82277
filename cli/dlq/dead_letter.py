"""One dead letter in full: the raw message, the Bronze row, and the rule that rejects it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver import Client
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cli.common.console import shown
from cli.common.statements import rows
from config.visible import visible, visible_line
from schemas.coordinates import COORDINATES
from schemas.records import BRONZE
from silver_processor.core.versions import ABOUT_VERSIONS, CONTENT

# Narrower than this a panel has no room for a name and a value.
_PANEL_WIDTH = 48
_RULE = ("reason", "field", "value", "rule", "limit", "rules_version", "processor_version", "rejected_at")


@dataclass(frozen=True)
class ShownDeadLetter:
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


def load(client: Client, filters: Mapping[str, object]) -> list[ShownDeadLetter]:
    """The dead letters that match `filters` (see `cli/dlq/sql/show.sql`), newest first."""
    return [_complete(client, record) for record in rows(client, "show", filters)]


def _complete(client: Client, record: Mapping[str, Any]) -> ShownDeadLetter:
    published: datetime = record["published_at"]
    place = {
        "topic": record["raw_topic"],
        "partition": record["raw_partition"],
        "offset": record["raw_offset"],
        "published_ms": round(published.replace(tzinfo=published.tzinfo or UTC).timestamp() * 1000),
    }
    raw = rows(client, "show_raw", place)
    bronze = rows(client, "show_bronze", place)
    landed = record["landed"]
    named = {name: record[name] for name in ("exchange", "symbol", "trade_id")}
    held = rows(client, "show_held", named) if record["reason"] in ABOUT_VERSIONS else []
    return ShownDeadLetter(
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


class Panels:
    """Raw message, Bronze row and rule: side by side where they fit, else one below the other."""

    def __init__(self, dead_letter: ShownDeadLetter) -> None:
        self._dead_letter = dead_letter

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The title, then the panels."""
        dead_letter, place = self._dead_letter, self._dead_letter.coordinates
        title = (
            f"{place['raw_topic']}[{place['raw_partition']}]@{place['raw_offset']} published {place['published_at']}"
        )
        style = "bold"
        if dead_letter.resolution:
            note = "resolved: sent again {sent_at}, now in {landed} by rules {replay_rules_version}"
            title, style = f"{title}, {note.format(**dead_letter.resolution)}", "bold green"
        yield Text(visible_line(title), style=style, overflow="fold")
        parts = _parts(dead_letter)
        if len(parts) * _PANEL_WIDTH > options.max_width:
            for name, part in parts.items():
                yield Text(name, style="bold", overflow="fold")
                yield Panel(part)
            return
        grid = Table.grid(expand=True, padding=(0, 1, 0, 0))
        for _ in parts:
            grid.add_column(ratio=1, overflow="fold")
        grid.add_row(*(Panel(part, title=name) for name, part in parts.items()))
        yield grid


def _parts(dead_letter: ShownDeadLetter) -> dict[str, RenderableType]:
    fields = dead_letter.rule["field"].split(", ")
    parts: dict[str, RenderableType] = {
        f"Raw message, {dead_letter.raw['bytes']:,} bytes ({dead_letter.raw['source']})": _message(dead_letter.raw),
        f"Bronze row ({dead_letter.bronze['source']})": _fields(dead_letter.bronze, fields),
        "Rule": _fields(dead_letter.rule, ["value", "limit"] if dead_letter.held else ["value"]),
    }
    if dead_letter.held:
        differing = [name for name, bronze in CONTENT.items() if bronze in fields]
        parts["What Silver has"] = _fields(dead_letter.held, differing)
    return parts


def _message(raw: Mapping[str, Any]) -> Text:
    message = raw["message"]
    return Text(
        visible(message.decode("utf-8", errors="backslashreplace") if isinstance(message, bytes) else message),
        overflow="fold",
    )


def _fields(values: Mapping[str, Any], marked: Sequence[str]) -> Text:
    """A line for each value, its name before it."""
    lines = Text(overflow="fold")
    longest = max((len(name) for name in values if name != "source"), default=0)
    for name, value in values.items():
        if name != "source":
            lines.append(f"{name:<{longest}}  ", style="dim")
            lines.append(f"{shown(str(value))}\n", style="bold red" if name in marked else "")
    lines.rstrip()
    return lines

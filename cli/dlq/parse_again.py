"""Parses the dead letters that Bronze could not read, before they are validated again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from cli.common.statements import sql_text
from config.settings import Settings
from ddl.render import render_template
from schemas.reasons import Reason
from silver_processor.revalidation import FROM_BRONZE, ParsedAgain, cannot, parse_again, whole

# Runs a statement on the server: SQL and parameters → rows.
Ask = Callable[[str, Mapping[str, object]], pa.Table]

_NAMES_A_QUERY = 500
_NO_TIME = -1
_COLUMNS = (
    *("exchange", "symbol", "trade_id", "price_text", "quantity_text", "timestamp_raw", "side", "sequence"),
    *("kind", "matches"),
)


def parse_dead_letters_again(page: pa.Table, settings: Settings, ask: Ask) -> tuple[pa.Table, list[str]]:
    """Parse again the dead letters that Bronze rejected, by today's parsers and today's Bronze; keeps the order.

    Also returns why each could not be parsed again: "" where it was, or where Bronze did not reject it.

    `page`: columns of `cli/dlq/sql/candidates.sql`. `payload`, `payload_bytes` and `payload_encoding` are dropped.
    """
    dead_letters = pl.DataFrame(page)
    found = [_parse(dead_letter, settings, ask) for dead_letter in dead_letters.to_dicts()]
    why = [one.why for one in found]
    parsed = [place for place, one in enumerate(found) if one.columns]
    dead_letters = dead_letters.drop("payload", "payload_bytes", "payload_encoding")
    if not parsed:
        return dead_letters.to_arrow(), why
    fresh = _as_bronze([found[place].columns for place in parsed], settings, ask, dead_letters[parsed])
    kept = dead_letters.with_row_index("place")
    changed = fresh.with_columns(pl.Series("place", parsed, dtype=pl.UInt32)).select(kept.columns)
    merged = pl.concat([kept.filter(~pl.col("place").is_in(parsed)), changed]).sort("place").drop("place")
    return merged.to_arrow(), why


def _parse(dead_letter: Mapping[str, Any], settings: Settings, ask: Ask) -> ParsedAgain:
    reason = dead_letter["reason"]
    if reason not in FROM_BRONZE:
        return ParsedAgain(why=cannot(reason))
    message = whole(dead_letter["payload"], dead_letter["payload_encoding"], dead_letter["payload_bytes"])
    if message is None:
        place = {
            "topic": dead_letter["raw_topic"],
            "partition": dead_letter["raw_partition"],
            "offset": dead_letter["raw_offset"],
        }
        published = {"published_ms": round(dead_letter["published_at"].timestamp() * 1000)}
        stored = ask(sql_text("raw_whole"), place | published | {"longest": settings.max_message_bytes})
        if not stored.num_rows:
            return ParsedAgain(why="neither the dead letter nor trades_raw has the whole raw message")
        if stored["bytes"][0].as_py() > settings.max_message_bytes:
            return parse_again(b" " * (settings.max_message_bytes + 1), "", settings.max_message_bytes)
        value = stored["message"][0].as_py()
        message = value if isinstance(value, bytes) else value.encode()
    return parse_again(message, dead_letter["exchange"], settings.max_message_bytes)


def _as_bronze(
    read: Sequence[Mapping[str, str]], settings: Settings, ask: Ask, dead_letters: pl.DataFrame
) -> pl.DataFrame:
    """The dead letters with the fields parsed, and the times and shards that Bronze would have."""
    columns = pl.DataFrame(list(read), schema=dict.fromkeys(_COLUMNS, pl.String))
    query = render_template(settings, "_parse_again.sql")
    answers = [
        pl.DataFrame(
            ask(
                query,
                {
                    "texts": part["timestamp_raw"].to_list(),
                    "exchanges": part["exchange"].to_list(),
                    "symbols": part["symbol"].to_list(),
                },
            )
        )
        for part in columns.iter_slices(_NAMES_A_QUERY)
    ]
    bronze = pl.concat(answers)
    micros = bronze["plausible_micros"]
    unread = pl.when(columns["timestamp_raw"] == "").then(pl.lit(Reason.TIMESTAMP_MISSING.value))
    defect = pl.when(micros == _NO_TIME).then(unread.otherwise(pl.lit(Reason.TIMESTAMP_INVALID.value)))
    times = pl.when(micros == _NO_TIME).then(dead_letters["ingested_at"])
    moments = micros.cast(pl.Datetime("us", "UTC"))
    return dead_letters.with_columns(
        *columns.get_columns(),
        pl.select(times.otherwise(moments)).to_series().alias("timestamp").cast(dead_letters.schema["timestamp"]),
        pl.select(defect.otherwise(pl.lit(""))).to_series().alias("defect"),
        bronze["shard"].alias("shard"),
    )

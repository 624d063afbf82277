"""The dead letters that Bronze could not read, read again before they are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from cli.common.statements import text
from config.settings import Settings
from ddl.render import render_template
from schemas.reasons import Reason
from silver_processor.revalidation import FROM_BRONZE, Reread, cannot, reread, whole

# An answer of the server's normaliser: the SQL and its parameters → rows.
Ask = Callable[[str, Mapping[str, object]], pa.Table]

_NAMES_A_QUERY = 500
_NO_TIME = -1
_COLUMNS = (
    *("exchange", "symbol", "trade_id", "price_text", "quantity_text", "timestamp_raw", "side", "sequence"),
    *("kind", "matches"),
)


def read_again(page: pa.Table, settings: Settings, ask: Ask) -> tuple[pa.Table, list[str]]:
    """The letters with what today's parsers and today's Bronze make of those that Bronze rejected, in order; and for
    each letter why it could not be read again ("" where it was, or where Bronze had no objection).

    `page`: columns of `cli/sql/dlq_candidates.sql`; `payload` and what belongs to it are dropped.
    """
    letters = pl.DataFrame(page)
    found = [_read(letter, settings, ask) for letter in letters.to_dicts()]
    why = [one.why for one in found]
    mended = [place for place, one in enumerate(found) if one.columns]
    letters = letters.drop("payload", "payload_bytes", "payload_encoding")
    if not mended:
        return letters.to_arrow(), why
    fresh = _as_bronze([found[place].columns for place in mended], settings, ask, letters[mended])
    kept = letters.with_row_index("place")
    changed = fresh.with_columns(pl.Series("place", mended, dtype=pl.UInt32)).select(kept.columns)
    merged = pl.concat([kept.filter(~pl.col("place").is_in(mended)), changed]).sort("place").drop("place")
    return merged.to_arrow(), why


def _read(letter: Mapping[str, Any], settings: Settings, ask: Ask) -> Reread:
    reason = letter["reason"]
    if reason not in FROM_BRONZE:
        return Reread(why=cannot(reason))
    message = whole(letter["payload"], letter["payload_encoding"], letter["payload_bytes"])
    if message is None:
        place = {"topic": letter["raw_topic"], "partition": letter["raw_partition"], "offset": letter["raw_offset"]}
        published = {"published_ms": round(letter["published_at"].timestamp() * 1000)}
        stored = ask(text("dlq_raw_whole"), place | published | {"longest": settings.max_message_bytes})
        if not stored.num_rows:
            return Reread(why="the whole raw message is neither in the dead letter nor in trades_raw any more")
        if stored["bytes"][0].as_py() > settings.max_message_bytes:
            return reread(b" " * (settings.max_message_bytes + 1), "", settings.max_message_bytes)
        value = stored["message"][0].as_py()
        message = value if isinstance(value, bytes) else value.encode()
    return reread(message, letter["exchange"], settings.max_message_bytes)


def _as_bronze(read: Sequence[Mapping[str, str]], settings: Settings, ask: Ask, letters: pl.DataFrame) -> pl.DataFrame:
    """The letters with the fields read, their times and their shards, as Bronze would have had them."""
    columns = pl.DataFrame(list(read), schema=dict.fromkeys(_COLUMNS, pl.String))
    query = render_template(settings, "_reread.sql")
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
    times = pl.when(micros == _NO_TIME).then(letters["ingested_at"])
    moments = micros.cast(pl.Datetime("us", "UTC"))
    return letters.with_columns(
        *columns.get_columns(),
        pl.select(times.otherwise(moments)).to_series().alias("timestamp").cast(letters.schema["timestamp"]),
        pl.select(defect.otherwise(pl.lit(""))).to_series().alias("defect"),
        bronze["shard"].alias("shard"),
    )

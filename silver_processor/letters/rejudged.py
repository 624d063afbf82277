"""Dead letters judged again: which of them today's rules let through."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from schemas.reasons import Reason
from schemas.records import BRONZE
from silver_processor.core.refine import refine
from silver_processor.core.rules import Rules
from silver_processor.core.versions import ABOUT_VERSIONS

# "" as a reason: the message passes.
PASSES = ""
PLACE = ("raw_topic", "raw_partition", "raw_offset", "published_at")


@dataclass(frozen=True, slots=True)
class Reconsidered:
    """The verdicts on dead letters.

    `verdicts`: a row a dead letter in the order given, `before` and `after` (reason codes; after `PASSES` it passes).
    `passing`: the given rows that pass, all their columns, and `canonical` (Silver's symbol).
    """

    verdicts: pl.DataFrame
    passing: pa.Table


def reconsider(letters: pa.Table, rules: Rules) -> Reconsidered:
    """Judge dead letters by `rules`, as the worker would judge their Bronze rows.

    `letters` has the columns of `BRONZE`, `reason` and any more; one row a raw message. A `defect` stands: what
    can be read again is given as it reads now (`silver_processor.letters.reread`).
    """
    rows = pl.DataFrame(letters)
    # Some are about a Bronze message, not about a raw one, others about a trade of which Silver has another version.
    judged = rows.filter(~pl.col("reason").is_in([Reason.BRONZE_UNREADABLE.value, *ABOUT_VERSIONS]))
    refined = refine(judged.select(BRONZE.names).to_arrow().cast(BRONZE), rules)
    place = [pl.col(name).cast(rows.schema[name]) for name in PLACE]
    valid = pl.DataFrame(refined.valid).select(*place, canonical="symbol", after=pl.lit(PASSES))
    rejected = pl.DataFrame(refined.rejects).select(
        *place, canonical=pl.lit(None, pl.String), after=pl.col("reason").cast(pl.String)
    )
    found = rows.join(pl.concat([valid, rejected]), on=PLACE, how="left", maintain_order="left")
    verdicts = found.select(pl.col("reason").alias("before"), pl.col("after").fill_null(pl.col("reason")))
    return Reconsidered(verdicts, found.filter(pl.col("after") == PASSES).drop("after").to_arrow())

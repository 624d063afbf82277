"""The candle views while a day is published: they take its candles from a source that switches all at once.

Silver and six tables of candle states cannot be replaced in one statement. But within one query a server reads each
table as it was at one moment (`enable_shared_storage_snapshot_in_query`, on by default), however often and through
whichever views the query names it. So for the time of a publication the views that read candle states compute the day's
candles from Silver itself, which gives what the states give, by the query that makes the states. Replacing Silver's
partition then switches Silver and every candle for every query, whole; the states follow under this cover. Where
Silver's partition cannot be the switch (it is gone, or the states differ from it), a row of `rederivations` is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from config.settings import Settings
from ddl.layers import Timeframe, load_layers
from ddl.render import render as render_ddl
from ddl.statements import Kind
from offload.errors import OffloadError
from offload.hot import HotStore
from offload.templates import render

Source = Literal["silver", "staged"]


class CoverError(OffloadError):
    """A candle view or materialized view is not as the migrations make it."""


@dataclass(frozen=True)
class Cover:
    """The candles of some exchanges and one day (`from_us`, `to_us`), read from `source`.

    `publication` is the id whose `switched` row in `rederivations` switches a source that is staged.
    """

    source: Source
    publication: str
    keys: tuple[str, ...]
    from_us: int
    to_us: int

    def put_on(self, hot: HotStore, views: Mapping[str, str], frames: Sequence[Timeframe]) -> None:
        """Let the views read the states of `frames` through the cover; in any order, both ways give the same candles.

        `views`: see `plain_views`.

        Raises:
            CoverError: a view cannot be recognised.
            HotStoreError: ClickHouse failed.
        """
        covered = dict(views)
        for frame in frames:
            database, live = self._live_query(hot, frame)
            states = f"{database}.{frame.state_table}"
            rows = render(
                "cover.sql",
                states=states,
                live=live,
                switch="" if self.source == "silver" else f"{database}.rederivations",
                publication=self.publication,
                keys=self.keys,
                from_us=self.from_us,
                to_us=self.to_us,
            )
            for view, statement in covered.items():
                if reads(statement, states):
                    covered[view] = replaced(statement, f"FROM {states} AS state", f"FROM\n(\n{rows}\n) AS state")
        for view, statement in covered.items():
            if statement != views[view]:
                hot.command(statement, {})

    def candles_query(self, hot: HotStore, frame: Timeframe) -> str:
        """The query of the live materialized view over the source's rows of the day.

        Raises:
            CoverError: the view cannot be recognised.
            HotStoreError: ClickHouse failed.
        """
        return self._live_query(hot, frame)[1]

    def _live_query(self, hot: HotStore, frame: Timeframe) -> tuple[str, str]:
        found = hot.rows(render("view_query.sql"), {"view": frame.materialized_view})
        if not found:
            raise CoverError(f"{frame.materialized_view} is gone: see `medallion ddl status`.")
        database, text = str(found[0]["db"]), str(found[0]["as_select"])
        table = "silver_trades" if self.source == "silver" else "silver_trades_staged"
        rows = render(
            "cover_rows.sql", source=f"{database}.{table}", keys=self.keys, from_us=self.from_us, to_us=self.to_us
        )
        query = replaced(text, f"FROM {database}.silver_trades AS silver", f"FROM\n(\n{rows}\n) AS silver")
        return database, query


def plain_views(settings: Settings) -> dict[str, str]:
    """The statements that make the views on candle states on one server, as the migrations have them, by name."""
    alone = settings.model_copy(update={"clickhouse_cluster": ""})
    states = [f"{settings.clickhouse_database}.{frame.state_table}" for frame in load_layers().timeframes]
    return {
        statement.object: statement.sql
        for statement in render_ddl(alone)
        if statement.kind is Kind.VIEW and any(reads(statement.sql, table) for table in states)
    }


def reads(statement: str, states: str) -> bool:
    """Whether a view's statement shows the rows of a table of states (its `FROM … AS state`)."""
    return f"FROM {states} AS state" in statement


def take_off(hot: HotStore, views: Mapping[str, str]) -> None:
    """Let every candle view read its states only; those that do are left alone.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    for view, statement in views.items():
        found = hot.rows(render("view_query.sql"), {"view": view})
        if found and "silver_trades" in str(found[0]["as_select"]):
            hot.command(statement, {})


def replaced(text: str, old: str, new: str) -> str:
    """`text` with its one `old` exchanged for `new`.

    Raises:
        CoverError: it is not there exactly once.
    """
    if text.count(old) != 1:
        raise CoverError(f"Expected '{old}' once in a view: is the schema as `medallion ddl status` wants it? {text}")
    return text.replace(old, new)

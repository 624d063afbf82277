"""The candle views while a day is published: they take its candles from a source that switches all at once.

Silver and the candle states cannot be replaced in one statement. But within one query a server reads each
table as it was at one moment (`enable_shared_storage_snapshot_in_query`, on by default), however often and through
whichever views the query names it. So for the time of a publication the views that read candle states compute the day's
candles from Silver itself, which gives what the states give, by the query that makes the states. Replacing Silver's
partition then switches Silver and every candle for every query, whole; the states follow under this cover. Where
Silver's partition cannot be the switch (it is gone, or the states differ from it), a row of `rederivations` is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from config.settings import Settings
from ddl.layers import STATE_TABLE, load_layers
from ddl.render import render as render_ddl
from ddl.statements import ObjectKind
from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render

Source = Literal["silver", "staged"]


@dataclass(frozen=True)
class Cover:
    """The candles of some exchanges, time frames (codes) and one day (`from_us`, `to_us`), read from `source`.

    `publication` is the id whose `switched` row in `rederivations` switches a source that is staged.
    """

    source: Source
    publication: str
    keys: tuple[str, ...]
    from_us: int
    to_us: int
    frames: tuple[str, ...]

    @property
    def here(self) -> str:
        """The condition (SQL) on a candle state that it is one of these."""
        seconds = frame_seconds(self.frames)
        return render("cover_here.sql", seconds=seconds, keys=self.keys, from_us=self.from_us, to_us=self.to_us)

    @property
    def states(self) -> str:
        """The query that makes these states of the source's rows."""
        return self._states("")

    def put_on(self, hot: HotStore, database: str, views: Mapping[str, str]) -> None:
        """Let the views read the states through the cover; in any order, both ways give the same candles.

        `views`: see `plain_views`; of this database.

        Raises:
            HotStoreError: ClickHouse failed.
        """
        if not self.frames:
            return
        rows = render(
            "cover.sql",
            db=database,
            source=self.source,
            publication=self.publication,
            here=self.here,
            states=self._states(f"{database}."),
        )
        states = _from_states(database)
        for statement in views.values():
            hot.command(statement.replace(states, f"FROM\n(\n{rows}\n) AS state"), {})

    def _states(self, database: str) -> str:
        table = "silver_trades" if self.source == "silver" else "silver_trades_staged"
        source = f"{database}{table}"
        rows = render("cover_rows.sql", source=source, keys=self.keys, from_us=self.from_us, to_us=self.to_us)
        timeframes = [frame for frame in load_layers().timeframes if frame.code in self.frames]
        return render("cover_states.sql", rows=rows, timeframes=timeframes)


def frame_seconds(codes: Collection[str]) -> list[int]:
    """The lengths of these time frames."""
    return [frame.seconds for frame in load_layers().timeframes if frame.code in codes]


def plain_views(settings: Settings) -> dict[str, str]:
    """The statements that make the views on candle states on one server, as the migrations have them, by name."""
    alone = settings.model_copy(update={"clickhouse_cluster": ""})
    states = _from_states(settings.clickhouse_database)
    return {
        statement.object: statement.sql
        for statement in render_ddl(alone)
        if statement.kind is ObjectKind.VIEW and states in statement.sql
    }


def take_off(hot: HotStore, views: Mapping[str, str]) -> None:
    """Let every candle view read its states only; those that do are left alone.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    for view, statement in views.items():
        found = hot.rows(render("view_query.sql"), {"view": view})
        if found and "silver_trades" in str(found[0]["as_select"]):
            hot.command(statement, {})


def _from_states(database: str) -> str:
    """How the views name the states."""
    return f"FROM {database}.{STATE_TABLE} AS state"

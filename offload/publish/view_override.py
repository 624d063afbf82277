"""While a day is published, the candle views compute it from Silver, so that all its candles change at once.

No statement replaces both Silver and the candle states. But a query reads each table as it was at one moment
(`enable_shared_storage_snapshot_in_query`, on by default), even if it names the table several times or through views.
So during a publication the views compute the day's candles from Silver, with the query that makes the states. The
result is the same. Replacing Silver's partition then switches Silver and all candles for every query, and the states
are rebuilt behind the override. If Silver's partition is not hot, or the states differ from it, a row of
`rederivations` is the switch instead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from config.settings import Settings
from ddl.layers import STATE_TABLE, load_layers
from ddl.render import render as render_ddl
from ddl.statements import ObjectKind
from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render

CandleSource = Literal["silver", "staged"]


@dataclass(frozen=True)
class ViewOverride:
    """Candles of some exchanges (`keys`), time frames (codes) and one day (`from_us`, `to_us`), read from `source`.

    The views use a staged source once `rederivations` has the `switched` row of `publication`.
    """

    source: CandleSource
    publication: str
    keys: tuple[str, ...]
    from_us: int
    to_us: int
    frames: tuple[str, ...]

    @property
    def condition(self) -> str:
        """SQL condition that is true for these candle states."""
        seconds = frame_seconds(self.frames)
        return render("override_condition.sql", seconds=seconds, keys=self.keys, from_us=self.from_us, to_us=self.to_us)

    @property
    def states(self) -> str:
        """SQL query that computes these states from the rows of the source."""
        return self._states("")

    def apply(self, servers: Sequence[HotStore], database: str, views: Mapping[str, str]) -> None:
        """Apply the override to `views` (see `plain_views`) of `database` on each server, one after the other.

        Views with and without it show the same candles.

        Raises:
            HotStoreError: ClickHouse failed.
        """
        if not self.frames:
            return
        rows = render(
            "override_from.sql",
            db=database,
            source=self.source,
            publication=self.publication,
            condition=self.condition,
            states=self._states(f"{database}."),
        )
        states = _from_states(database)
        for server in servers:
            for statement in views.values():
                server.command(statement.replace(states, f"FROM\n(\n{rows}\n) AS state"), {})

    def _states(self, database: str) -> str:
        table = "silver_trades" if self.source == "silver" else "silver_trades_staged"
        source = f"{database}{table}"
        timeframes = [frame for frame in load_layers().timeframes if frame.code in self.frames]
        span = {"keys": self.keys, "from_us": self.from_us, "to_us": self.to_us}
        return render("override_states.sql", source=source, timeframes=timeframes, **span)


def frame_seconds(codes: Collection[str]) -> list[int]:
    """The lengths of these time frames in seconds."""
    return [frame.seconds for frame in load_layers().timeframes if frame.code in codes]


def plain_views(settings: Settings) -> dict[str, str]:
    """The statements that create the views on candle states in the database of the settings, by view.

    They create them on one server: of a cluster, each replica is sent its own.
    """
    one_server = settings.model_copy(update={"clickhouse_cluster": ""})
    states = _from_states(settings.clickhouse_database)
    return {
        statement.object: statement.sql
        for statement in render_ddl(one_server)
        if statement.kind is ObjectKind.VIEW and states in statement.sql
    }


def remove_override(servers: Sequence[HotStore], views: Mapping[str, str]) -> None:
    """Remove the override from every candle view that has one, on each server.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    for server in servers:
        for row in server.rows(render("overridden_views.sql"), {"views": list(views)}):
            server.command(views[row["name"]], {})


def _from_states(database: str) -> str:
    """The FROM clause by which the views read the states."""
    return f"FROM {database}.{STATE_TABLE} AS state"

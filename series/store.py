"""The series in ClickHouse: inserts answers once each, and looks up which rows are stored."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import clickhouse_connect
import pyarrow as pa
import structlog
import tenacity
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from config.clickhouse_arrow import insert_arrow, insert_once_settings, select_arrow
from config.clickhouse_ping import SilentServerError, check_answers
from config.connections import clickhouse_http
from config.process.retry import retry_until_stopped
from config.settings import Settings
from series.answer import Answer, landing_rows
from series.declaration import Series
from series.errors import StoreError

_SQL = Path(__file__).with_name("sql")
_FAILURES: tuple[type[Exception], ...] = (ClickHouseError, HTTPError, OSError)
# So often a server that does not answer is tried, in 15 s on average. Then the run ends.
_TRIES = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_log = structlog.get_logger(__name__)


class SeriesStore:
    """One HTTP connection. Threads take turns.

    Unlike the Silver worker's client, it gives up after `_TRIES`, and the run ends; unlike a command's, it bears a
    restart of the server in the middle of a run.
    """

    def __init__(self, settings: Settings) -> None:
        """Connects.

        Raises:
            StoreError: nothing answers.
        """
        self._stop = threading.Event()
        self._turn = threading.Lock()
        try:
            check_answers(settings)
            self._client = clickhouse_connect.get_client(**clickhouse_http(settings))
        except SilentServerError as error:
            raise StoreError(str(error)) from error
        except _FAILURES as error:
            raise StoreError(
                f"No ClickHouse answers at {settings.clickhouse_host}:{settings.clickhouse_http_port}: see"
                f" `medallion status`. ({error})"
            ) from error

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def stop(self) -> None:
        """End every wait for a server that is away."""
        self._stop.set()

    def insert(self, series: Series, answers: Sequence[Answer]) -> None:
        """Insert answers as one block. Repeating the insert adds nothing, or completes an insert that was cut off.

        Raises:
            StoreError: the server stays away, or refuses the answers. They may be stored or not.
        """
        token = hashlib.sha256("".join(answer.id for answer in answers).encode()).hexdigest()[:32]
        self.insert_rows(series.landing, landing_rows(series, answers), token)

    def insert_rows(self, table: str, rows: pa.Table, token: str) -> None:
        """Insert rows as one block, columns by name. Another insert with the same `token` adds nothing.

        Raises:
            StoreError: as `insert`.
        """

        def send() -> None:
            with self._turn:
                insert_arrow(self._client, table, rows, insert_once_settings(token))

        self._retry(send)

    def table(self, statement: str, parameters: Mapping[str, Any]) -> pa.Table:
        """The result of a statement as Arrow columns; texts as strings.

        Raises:
            StoreError: as `insert`.
        """
        found: list[pa.Table] = []

        def ask() -> None:
            with self._turn:
                found[:] = [select_arrow(self._client, statement, parameters)]

        self._retry(ask)
        return found[0]

    def rows(self, name: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The result of `sql/<name>.sql`: a mapping for each row.

        Raises:
            StoreError: as `insert`.
        """
        found: list[dict[str, Any]] = []

        def ask() -> None:
            with self._turn:
                answer = self._client.query(_statement(name), parameters=dict(parameters), tz_mode="aware")
                found[:] = answer.named_results()

        self._retry(ask)
        return found

    def newest(self, series: Series, key: Mapping[str, str]) -> datetime | None:
        """The time (UTC) of the newest row, or of the newest period that was over; None: there is none.

        `key`: the texts of the key, by column.
        """
        rows = self.rows("newest", _places(series, key))
        newest = rows[0]["newest_time"] if rows else _EPOCH
        return newest if newest > _EPOCH else None

    def full_days(self, series: Series, key: Mapping[str, str], start: datetime, end: datetime) -> set[date]:
        """The UTC days of [start, end) of which every period is stored.

        If the market is closed at times, these are the days between the first and the last row of an answer, since an
        answer leaves nothing out between two rows. Only answers whose snapshots are still in ClickHouse count.
        """
        span = {**_places(series, key), "start": start, "end": end}
        found = self.rows("full_days", span)
        if key.get("exchange") in series.in_sessions:
            names = {"snapshots": series.snapshots, "time": series.time, "frame_column": series.frame}
            found += self.rows("answered_days", span | names)
        return {row["day"] for row in found}

    def _retry(self, send: Callable[[], None]) -> None:
        try:
            retry_until_stopped(self._stop, _FAILURES, self._tell)(send)
        except tenacity.RetryError as error:
            cause = error.last_attempt.exception()
            raise StoreError(f"ClickHouse: {cause}; see `medallion status` and `medallion ddl status`") from cause

    def _tell(self, error: BaseException, attempts: int) -> None:
        _log.warning("ClickHouse failed", error=str(error), attempt=attempts)
        if attempts >= _TRIES:
            self._stop.set()


def _places(series: Series, key: Mapping[str, str]) -> dict[str, Any]:
    texts = {name: key.get(name, "") for name in ("exchange", "symbol")}
    return {"series": series.name, "frame": key.get(series.frame, ""), **texts}


@cache
def _statement(name: str) -> str:
    return (_SQL / f"{name}.sql").read_text(encoding="utf-8")

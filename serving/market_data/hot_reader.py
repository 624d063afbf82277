"""Queries of ClickHouse: the SQL files of this package with their parameters, bounded in rows and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import aiohttp
import orjson
import structlog

from config.connections import clickhouse_requests, tls_context
from config.settings import Settings
from ddl.quoting import quote_string
from ddl.render import room_templates
from serving import errors, metrics

SECONDS = 10
# The server ends a query after its time limit; so much later the client gives up on a server that does not answer.
_SECONDS_OF_SILENCE = 5
# The bytes of a result that are kept in memory; a larger one is in a temporary file.
_MOST_MEMORY = 16 << 20
_MOST_AT_ONCE = 8
_TOO_LONG = "159"
_ACCESS_DENIED = "497"

log = structlog.get_logger(__name__)
_TEMPLATES = room_templates(Path(__file__).parents[1])

Row = dict[str, Any]


class AccessDeniedError(Exception):
    """ClickHouse's user may not read a table."""


@cache
def _text(name: str, names: tuple[tuple[str, object], ...]) -> str:
    return _TEMPLATES.get_template(f"{name}.sql").render(dict(names))


class HotReader:
    """A pool of connections to ClickHouse's HTTP interface. The caller closes it.

    It does not use clickhouse-connect as the other rooms do: its answers are JSON lines, and it runs in asyncio without
    threads and without pyarrow.

    The SQL file of a query limits its rows. A query takes at most `SECONDS`, unless `within` is given.
    """

    def __init__(self, settings: Settings) -> None:
        connection = clickhouse_requests(settings)
        user, password = connection["auth"]
        self._url = connection["url"]
        self._database = settings.clickhouse_database
        self._session = aiohttp.ClientSession(
            headers={"Authorization": aiohttp.encode_basic_auth(user, password)},
            connector=aiohttp.TCPConnector(
                limit=_MOST_AT_ONCE, ssl=tls_context(settings.clickhouse_ca_file) if settings.clickhouse_tls else True
            ),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def rows(
        self, name: str, parameters: Mapping[str, object], *, within: int = SECONDS, **names: object
    ) -> list[Row]:
        """The rows of a room's `sql/<name>.sql`; decimals as text, 64-bit numbers as numbers.

        Args:
            name: the SQL file.
            parameters: values of its `{name:Type}`.
            within: the time limit, s.
            names: constants of our code that Jinja fills in: names of views, lengths of windows.

        Raises:
            ApiError: -1001 or -1007, ClickHouse did not answer.
            AccessDeniedError: this user may not read the table.
        """
        async with self._asked(name, parameters, within, "JSONEachRow", names) as answer:
            lines = (await answer.read()).splitlines()
        try:
            return [orjson.loads(line) for line in lines]
        except orjson.JSONDecodeError as error:
            log.error("this is no answer of ClickHouse", query=name, answer=repr(lines[0][:100]))
            raise errors.unavailable() from error

    async def file(
        self, name: str, parameters: Mapping[str, object], *, within: int = SECONDS, **names: object
    ) -> IO[bytes]:
        """The first column of every row, a line each, as a temporary file. Memory holds only a part of a large result.

        The arguments and errors are those of `rows`. A result that breaks off, or that does not fit into the temporary
        folder, is an error, too.
        """
        spool: IO[bytes] = SpooledTemporaryFile(_MOST_MEMORY)  # noqa: SIM115 - the caller closes it
        try:
            async with self._asked(name, parameters, within, "TabSeparatedRaw", names) as answer:
                async for part in answer.content.iter_any():
                    _write(spool, part)
        except BaseException:
            spool.close()
            raise
        spool.seek(0)
        return spool

    @asynccontextmanager
    async def _asked(
        self, name: str, parameters: Mapping[str, object], within: int, form: str, names: Mapping[str, object]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        query = {
            "database": self._database,
            "default_format": form,
            "max_execution_time": f"{within}",
            "wait_end_of_query": "1",
            "output_format_json_quote_64bit_integers": "0",
            **{f"param_{key}": _parameter(value) for key, value in parameters.items()},
        }
        sql = _text(name, tuple(sorted(names.items())))
        longest = aiohttp.ClientTimeout(total=within + _SECONDS_OF_SILENCE)
        try:
            with metrics.QUERIES.labels(name).time():
                async with self._session.post(self._url, params=query, data=sql.encode(), timeout=longest) as answer:
                    if answer.status != 200:
                        code = answer.headers.get("X-ClickHouse-Exception-Code", "")
                        raise _refusal(name, code, await answer.read())
                    yield answer
        except (aiohttp.ClientError, OSError) as error:
            log.warning("ClickHouse does not answer", query=name, error=repr(error))
            raise errors.unavailable() from error
        except TimeoutError as error:
            raise errors.timed_out() from error

    async def gather(self, *queries: Any) -> list[list[Row]]:
        """The results of several queries, run at once."""
        return list(await asyncio.gather(*queries))


def _write(spool: IO[bytes], part: bytes) -> None:
    try:
        spool.write(part)
    except OSError as error:
        log.warning("an answer does not fit in the temporary folder", error=repr(error))
        raise errors.no_room() from error


def _refusal(name: str, code: str, body: bytes) -> Exception:
    if code == _ACCESS_DENIED:
        return AccessDeniedError(name)
    log.error("query refused", query=name, code=code, error=body[:2_000].decode("utf-8", "backslashreplace"))
    return errors.timed_out() if code == _TOO_LONG else errors.unavailable()


def _parameter(value: object) -> str:
    """A value in ClickHouse's text format of query parameters."""
    if isinstance(value, str):
        return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
    if isinstance(value, Sequence):
        return f"[{','.join(_element(element) for element in value)}]"
    return str(value)


def _element(value: object) -> str:
    if isinstance(value, tuple):
        return f"({','.join(_element(element) for element in value)})"
    return quote_string(value) if isinstance(value, str) else str(value)

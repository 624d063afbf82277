"""`medallion query` runs SQL; `medallion drain` waits until every published message has reached its end."""

from __future__ import annotations

import http.client
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import requests
import typer
from urllib3.exceptions import MaxRetryError, ReadTimeoutError

from cli.common.arguments import YEAR_S
from cli.common.console import VisibleStream
from cli.common.context import DataDirOption, JsonOption, err, load_settings, out, print_json, print_table
from cli.common.lag import Lag, print_past_end, wait
from cli.common.server_errors import code_of, remedy
from cli.common.work import working
from cli.messages.sql_error import brief
from config.clickhouse_ping import CONNECT_S, check_answers
from config.connections import clickhouse_requests
from config.errors import MedallionError
from config.settings import Settings

CHUNK_BYTES = 65_536
TABLE_FORMAT = "PrettyCompactMonoBlock"
# ClickHouse sends at most 16 KiB of a message behind rows.
_END_BYTES = 20_000
_LATE_ERROR = re.compile(r"Code: \d+\. DB::Exception: [^\r\n]*")
_UNKNOWN_DATABASE = 81
_ADDRESS = "MEDALLION_CLICKHOUSE_HOST and MEDALLION_CLICKHOUSE_HTTP_PORT"
_INCOMPLETE = "The result is incomplete."
# Of the time without a sign, the part after which ClickHouse sends a header with its progress.
_PROGRESS_SHARE = 0.25
# The standard library takes 100 headers; clickhouse-connect sets the same number.
http.client._MAXHEADERS = 10_000  # type: ignore[attr-defined]


class QueryError(MedallionError):
    """ClickHouse refused the statement; the message has ClickHouse's error."""


def query(
    sql: Annotated[str, typer.Argument(help="The statement, or - to read it from standard input.")],
    output_format: Annotated[
        str | None,
        typer.Option("--format", help="A ClickHouse output format: CSVWithNames, JSONEachRow, Parquet …"),
    ] = None,
    pin: Annotated[
        str | None, typer.Option("--pin", help="Read the cold tables of this pin instead of the hot tables.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show ClickHouse's whole message of an error.")] = False,
    timeout: Annotated[
        float,
        typer.Option(
            help="Seconds to wait while the server sends neither rows nor progress; 0: without limit.",
            min=0,
            max=YEAR_S,
        ),
    ] = 3600.0,
    data_dir: DataDirOption = None,
) -> None:
    """Run SQL and stream the result to standard output.

    The default format is a table on a terminal, and tab-separated values in a pipe.
    """
    settings = load_settings(data_dir)
    database = settings.clickhouse_database if pin is None else _pinned(settings, pin)
    text = sys.stdin.read() if sql == "-" else sql
    as_table = output_format is None and sys.stdout.isatty()
    chosen = output_format or (TABLE_FORMAT if as_table else "TabSeparated")
    parameters: dict[str, str | int] = {"database": database, "default_format": chosen}
    if as_table:
        parameters |= table_settings(out.width)
    if timeout:
        interval_ms = max(1, round(timeout * _PROGRESS_SHARE * 1_000))
        parameters |= {"send_progress_in_http_headers": 1, "http_headers_progress_interval_ms": interval_ms}
    address = f"{settings.clickhouse_host}:{settings.clickhouse_http_port}"
    answer = _ask(settings, address, text, parameters, timeout)
    has_end = "Transfer-Encoding" in answer.headers or "Content-Length" in answer.headers
    if "X-ClickHouse-Progress" in answer.headers and not has_end:
        # The standard library takes the end of a connection among the headers for the end of an answer without rows.
        raise _broke_off(address, "before the first rows")
    # A page of a proxy or of another server may have status 200, too.
    if answer.status_code != 200 or not any(name.lower().startswith("x-clickhouse-") for name in answer.headers):
        message, note = _message(answer)
        raise _refused(message, text, settings, verbose=verbose, note=note)
    end = bytearray()
    try:
        _write(_with_end(answer.iter_content(CHUNK_BYTES), end))
    except requests.RequestException as error:
        # The status of an answer is sent before the statement has ended. ClickHouse then writes its message behind the
        # rows and breaks off.
        said = list(_LATE_ERROR.finditer(end.decode(errors="replace")))
        if said:
            raise _refused(said[-1].group(), text, settings, verbose=verbose, note=_INCOMPLETE) from error
        if isinstance(error.args[0] if error.args else None, ReadTimeoutError):
            raise _silent(address, timeout, _INCOMPLETE) from error
        raise _broke_off(address, str(error)) from error


def _ask(
    settings: Settings, address: str, sql: str, parameters: dict[str, str | int], timeout: float
) -> requests.Response:
    """ClickHouse's answer, of which only the head has been read.

    Raises:
        QueryError: no server is at the address.
        SilentServerError: it does not answer.
    """
    connection: dict[str, Any] = {**clickhouse_requests(settings), "stream": True, "allow_redirects": False}
    url = connection.pop("url")
    check_answers(settings)
    try:
        return requests.post(
            url, **connection, params=parameters, data=sql.encode(), timeout=(CONNECT_S, timeout or None)
        )
    except requests.ReadTimeout as error:
        raise _silent(address, timeout) from error
    except requests.RequestException as error:
        raise QueryError(
            f"No ClickHouse answers at {address}: `medallion status` shows whether the stack runs, `medallion up` "
            f"starts it; of a deployed stack, correct {_ADDRESS}. ({_reason(error)})"
        ) from error


def _message(answer: requests.Response) -> tuple[str, str]:
    """The text of a refusal, or as much of it as comes, and what is to be said about the rest."""
    came, note = bytearray(), ""
    try:
        # Byte by byte, so that what came before a break is not lost.
        for byte in answer.iter_content(1):
            came += byte
            if len(came) == _END_BYTES:
                break
    except requests.RequestException:
        note = "The rest of this answer did not come."
    return came.decode(errors="replace").strip() or f"HTTP status {answer.status_code}, without a message.", note


def _broke_off(address: str, why: str) -> QueryError:
    return QueryError(
        f"The connection to ClickHouse at {address} broke off. {_INCOMPLETE} `medallion status` shows whether the"
        f" server runs; then run the statement again. ({why})"
    )


def _silent(address: str, timeout: float, note: str = "") -> QueryError:
    said = f"ClickHouse at {address} has sent neither rows nor progress for {timeout:g} s. {note}".rstrip()
    return QueryError(
        f"{said} `medallion status` shows whether the server runs. A statement that takes longer needs a larger"
        " --timeout (0: no limit). The server may be running this one still."
    )


def _reason(error: BaseException) -> BaseException:
    """Why no connection came about, without the address that `requests` writes around it."""
    return next((said.reason for said in error.args if isinstance(said, MaxRetryError) and said.reason), error)


def _refused(answer: str, sql: str, settings: Settings, *, verbose: bool, note: str = "") -> QueryError:
    """What is wrong, where, and who can do what about it."""
    code, database = code_of(answer), settings.clickhouse_database
    otherwise = "Correct the statement."
    if code is None:
        otherwise = f"This is no answer of ClickHouse: correct {_ADDRESS}."
    elif code == _UNKNOWN_DATABASE and f" {database} " in answer and database not in sql:
        otherwise = "`medallion ddl apply` makes this database; of another one, correct MEDALLION_CLICKHOUSE_DATABASE."
    message = answer if verbose else brief(answer, sql)
    lines = (message, note, remedy(code, otherwise), "" if verbose else "--verbose shows ClickHouse's whole answer.")
    return QueryError("\n".join(line for line in lines if line))


def _with_end(chunks: Iterable[bytes], end: bytearray) -> Iterator[bytes]:
    """The chunks; `end` has the last bytes of those that came."""
    for chunk in chunks:
        end += chunk[-_END_BYTES:]
        del end[:-_END_BYTES]
        yield chunk


def table_settings(width: int) -> dict[str, int]:
    """ClickHouse's settings for a table on a terminal of `width` columns.

    No name or value is cut. Up to 100 rows that are wider than the terminal are printed as a line for each column.
    """
    return {
        "output_format_pretty_max_column_name_width_cut_to": 0,
        "output_format_pretty_max_value_width": 0,
        "output_format_pretty_fallback_to_vertical_min_table_width": width,
        "output_format_pretty_fallback_to_vertical_min_columns": 1,
        "output_format_pretty_fallback_to_vertical_max_rows_per_chunk": 100,
    }


def _write(chunks: Iterable[bytes]) -> None:
    """Write to standard output: byte for byte to a pipe or file, with hidden characters as escapes to a terminal."""
    output = sys.stdout.buffer
    if sys.stdout.isatty():
        terminal = VisibleStream(output)
        for chunk in chunks:
            terminal.write(chunk)
        terminal.end()
    else:
        for chunk in chunks:
            output.write(chunk)
    output.flush()


def _pinned(settings: Settings, name: str) -> str:
    """The database whose views read exactly the files of the pin."""
    # Importing the Iceberg libraries takes a second, which a plain query does not need.
    from offload.clickhouse.client import ClickHouseHttp  # noqa: PLC0415
    from offload.pins import Pins  # noqa: PLC0415

    return Pins.look(settings).publish(name, ClickHouseHttp(settings))


def drain(
    timeout: Annotated[float, typer.Option(help="Seconds to wait.", min=0, max=YEAR_S)] = 120.0,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Wait until every published message has reached its end: a Silver row, a counted duplicate or a dead letter.

    Exit code 1 if a stage is still behind, if a stage has committed an offset past the end of the log, or if the broker
    deleted messages that a stage had not read. What it deleted before this command ran, `medallion lineage verify`
    names.
    """
    settings = load_settings(data_dir)
    go_on = "The messages continue on their way: `medallion drain` waits again."
    with working("Draining", go_on, quiet=as_json) as work:
        most = 0
        deleted: dict[tuple[str, str, int], Lag] = {}
        past_end: list[Lag] = []

        def watch(lags: list[Lag]) -> None:
            nonlocal most, past_end
            past_end = [lag for lag in lags if lag.past_end]
            # Seen only until the group goes on with the first message that is left.
            deleted.update({(lag.stage, lag.topic, lag.partition): lag for lag in lags if lag.deleted})
            behind = sum(lag.messages for lag in lags)
            most = max(most, behind)
            work.show(
                f"{most - behind:,} messages have reached their end",
                f"{behind:,} messages",
                share=1 - behind / most if most else 1.0,
            )

        behind = wait(settings, timeout, watch)
    if as_json:
        drained = not behind and not deleted and not past_end
        print_json({"drained": drained, "behind": behind, "deleted": [*deleted.values()], "past_end": past_end})
    if deleted:
        if not as_json:
            print_table(
                "Deleted by the broker before they were read",
                ("stage", "topic", "partition", "first offset", "last offset", "messages"),
                [
                    (lag.stage, lag.topic, lag.partition, lag.committed, lag.low_watermark - 1, lag.deleted)
                    for lag in deleted.values()
                ],
            )
        err.print(
            "No later layer has these messages: `medallion backfill` fetches their trades again. Let the broker keep"
            " messages for longer than a stage may stand still."
        )
    if behind:
        if not as_json:
            print_table(
                f"Not drained after {timeout:g} s",
                ("stage", "topic", "partition", "messages"),
                [(lag.stage, lag.topic, lag.partition, lag.messages) for lag in behind],
            )
        err.print("A stage is behind: see `medallion status` and the logs of this stage.")
    if not as_json:
        print_past_end(past_end)
    if behind or deleted or past_end:
        raise typer.Exit(1)
    if not as_json:
        err.print("Drained: every message that the broker kept has reached its end.")
        err.print("`medallion lineage verify` names those that it deleted unread.")

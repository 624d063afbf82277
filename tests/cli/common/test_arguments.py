"""Invariant: an argument that cannot be meant is an error that says what to give instead."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cli.common.arguments import HTTP, WEBSOCKET, UnknownNameError, check_address, check_names, check_span, near
from cli.common.context import load_settings
from cli.main import app
from config.settings import Settings
from deploy.embedded import control
from deploy.embedded.layout import DataDir, StackError, StackState
from tests import command
from tests.stack.conftest import clean_environment

DAY, NEXT = datetime(2024, 8, 8), datetime(2024, 8, 9)  # noqa: DTZ001 - as typer gives them


def test_a_span_has_something_in_it() -> None:
    check_span(DAY, NEXT)
    check_span(DAY, None)
    check_span(None, None)
    for until in (DAY, datetime(2024, 8, 7)):  # noqa: DTZ001
        with pytest.raises(typer.BadParameter, match=r"is not after --from \(2024-08-08T00:00:00\)"):
            check_span(DAY, until)


def test_a_span_is_of_times_that_trades_have() -> None:
    check_span(datetime(1970, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001
    for since, until, option in ((datetime(1969, 12, 31), None, "from"), (None, datetime(2200, 1, 2), "to")):  # noqa: DTZ001
        with pytest.raises(typer.BadParameter, match="is not from 1970 to 2199") as refused:
            check_span(since, until)
        assert refused.value.param_hint == f"--{option}"


def commands(found: Any, path: list[str]) -> Iterator[tuple[list[str], Any]]:
    """Every command with its words."""
    if not hasattr(found, "resolve_command"):
        yield path, found
        return
    context = found.make_context(path[-1], [], resilient_parsing=True)
    for name in found.list_commands(context):
        yield from commands(found.resolve_command(context, [name])[1], [*path, name])


def test_every_number_of_an_option_has_bounds() -> None:
    """Endless times and numbers of 20 digits end in an OverflowError of whichever library gets them."""
    unbounded = [
        f"{' '.join(path)} {parameter.opts[0]}"
        for path, found in commands(typer.main.get_command(app), ["medallion"])
        for parameter in found.params
        if parameter.bare_type() in {"int", "float"} and None in {parameter.min, parameter.max}
    ]
    assert unbounded == []


@pytest.mark.parametrize("arguments", [["query", "SELECT '\udcff'"], ["dlq", "list", "--symbol", "\udcff"]])
def test_text_that_is_not_utf_8_is_refused(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "\\xff" in done.output


@pytest.mark.parametrize(
    "address", ["http://h:1/x", "h:1", "ws:/h", "ws://", "", "wss:h", "ftp://h", "ws://[::1:9", "ws://h:x"]
)
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"give ws://HOST:PORT/… or wss://HOST:PORT/…"):
        check_address(address, WEBSOCKET, "--endpoint")


def test_addresses_of_the_kind() -> None:
    for address, schemes in ((None, HTTP), ("ws://127.0.0.1:1/binance", WEBSOCKET), ("https://a.example", HTTP)):
        check_address(address, schemes, "--endpoint")


@pytest.mark.parametrize(
    ("exchange", "symbol", "canonical", "why"),
    [
        ("binanse", "BTCUSDT", True, r"No exchange 'binanse' \(near it: binance"),
        ("", "NOSUCH", False, r"No symbol 'NOSUCH' in .*symbols\.yaml"),
        ("binance", "btcudst", True, r"No symbol 'btcudst' of binance .*near it: BTCUSDT"),
        ("kraken", "BTCUSD", False, r"BTCUSD is our name: give the exchange's own, .*BTC/USD"),
        ("binance", "BTC/USD", True, "No symbol 'BTC/USD' of binance"),
    ],
)
def test_unknown_names_are_errors_that_name_what_is_near(exchange: str, symbol: str, canonical: bool, why: str) -> None:
    with pytest.raises(UnknownNameError, match=why):
        check_names(Settings(), exchange, symbol, canonical=canonical)


def test_known_names_pass_an_exchange_of_the_settings_too() -> None:
    check_names(Settings(), "kraken", "BTC/USD", canonical=False)
    check_names(Settings(), "kraken", "BTCUSD", canonical=True)
    check_names(Settings(), "", "", canonical=False)
    # One that ccxt reads has no market in the file of ours.
    check_names(Settings(exchanges=("bitvavo",)), "bitvavo", "", canonical=False)


def test_nothing_is_near_what_is_like_nothing() -> None:
    assert near("zzzz", ["binance"]) == ""


def test_the_advised_command_is_for_a_shell(tmp_path: Path) -> None:
    folder = tmp_path / "it's $HOME; here"
    with pytest.raises(StackError, match="No stack is running") as error:
        control.find(folder)
    command_line = str(error.value).split("`")[1]
    assert shlex.split(command_line) == ["medallion", "up", "--data-dir", str(folder), "--detach"]


def test_a_stack_without_addresses_yet_is_not_taken_for_one_at_the_default_ports(tmp_path: Path) -> None:
    folder = DataDir(tmp_path / "stack")
    folder.create()
    begun = StackState(
        data_dir=folder.path,
        supervisor_pid=1,
        started_at=datetime.now(UTC),
        state="starting",
        environment={},
        services=[],
    )
    with folder.lock():
        for has_state in (False, True):
            if has_state:
                folder.write(begun)
            with pytest.raises(StackError, match="has just begun to start: run the command again"):
                load_settings(folder.path)


def test_a_port_is_not_given_twice(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="Port 19321 cannot be both of ClickHouse's ports"):
        control.start(tmp_path, 19321, 19321, 1, lambda _: None)


@pytest.mark.parametrize(
    "arguments",
    [
        ("backfill", "--symbols", "BTCUSDT", "--from", "2024-08-01", "--to", "2024-08-02", "--source", ".", "--state"),
        ("produce", "--symbols", "BTCUSDT", "--markets"),
    ],
)
def test_a_folder_where_a_file_is_wanted(arguments: tuple[str, ...], tmp_path: Path) -> None:
    environment = {**clean_environment(tmp_path), "MEDALLION_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    done = command.run([*arguments, str(tmp_path), "--exchange", "binance"], environment, 60)
    assert (done.returncode, done.stderr.startswith(f"error: {tmp_path}: Is a directory")) == (1, True)


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    state = ("backfill", "--exchange", "binance", "--symbols", "BTCUSDT", "--from", "2024-08-01", "--to", "2024-08-02")
    environment = {**clean_environment(tmp_path), "MEDALLION_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    for arguments, path in (
        (("status", "--data-dir"), tmp_path / ("x" * 300)),
        ((*state, "--source", ".", "--state"), file / "state"),
    ):
        done = command.run([*arguments, str(path)], environment, 60)
        assert (done.returncode, "give another path" in done.stderr, "Traceback" in done.stderr) == (1, True, False)

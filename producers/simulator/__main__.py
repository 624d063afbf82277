"""`python -m producers.simulator --recording binance=FILE --walk kraken=BTC/USD …` serves until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import sys
from pathlib import Path

import structlog

from config.process import logs
from config.schedule import SpeedError, parse_speed
from config.whole_file import write_whole
from producers.exchanges import UnknownExchangeError
from producers.replay.recording import RecordingError
from producers.simulator.faults import FaultPlan
from producers.simulator.server import Simulator, SimulatorError
from producers.simulator.synthetic import RandomWalk

_log = structlog.get_logger(__name__)


def _recording(text: str) -> tuple[str, Path]:
    code, equals, path = text.partition("=")
    if not (equals and Path(path).is_file()):
        raise argparse.ArgumentTypeError(f"{text!r}: give <exchange code>=<existing file>")
    return code, Path(path)


def _symbols(text: str) -> tuple[str, list[str]]:
    code, _, symbols = text.partition("=")
    if not symbols:
        raise argparse.ArgumentTypeError(f"{text!r}: give <exchange code>=<symbol>,<symbol>…")
    return code, symbols.split(",")


def _speed(text: str) -> float | None:
    try:
        return parse_speed(text)
    except SpeedError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m producers.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port of 127.0.0.1 to serve on; 0 for a free one (default)")
    parser.add_argument(
        "--recording",
        type=_recording,
        action="append",
        default=[],
        metavar="CODE=FILE",
        help="an exchange code and the recording to play",
    )
    parser.add_argument(
        "--walk",
        type=_symbols,
        action="append",
        default=[],
        metavar="CODE=SYMBOLS",
        help="an exchange code and the symbols of a random walk",
    )
    parser.add_argument("--walk-rate", type=float, default=20.0, help="trades a second of a walk (default 20)")
    parser.add_argument("--walk-hours", type=float, default=24.0, help="length of a walk, hours (default 24)")
    parser.add_argument(
        "--clock-off", type=float, default=0.0, metavar="S", help="seconds by which a walk's clock is ahead of ours"
    )
    parser.add_argument(
        "--speed", type=_speed, default=1.0, help="how many times as fast as recorded, or max (default 1)"
    )
    parser.add_argument("--wait-for-subscribers", action="store_true", help="play only while somebody is subscribed")
    parser.add_argument("--all-streams", action="store_true", help="send the recording's other streams, too")
    parser.add_argument(
        "--refuse",
        type=_symbols,
        action="append",
        default=[],
        metavar="CODE=SYMBOLS",
        help="symbols that the exchange does not have",
    )
    parser.add_argument(
        "--faults", type=int, metavar="SEED", help="make an exchange's faults, with this seed; 0 for a new seed"
    )
    parser.add_argument(
        "--faults-every",
        type=int,
        default=500,
        metavar="N",
        help="frames of trades between two faults, on average (default 500)",
    )
    parser.add_argument("--state", type=Path, help="file to which host:port is written once clients can connect")
    arguments = parser.parse_args()
    if not arguments.recording and not arguments.walk:
        parser.error("name at least one --recording or --walk")
    return arguments


def _plan(arguments: argparse.Namespace) -> FaultPlan | None:
    if arguments.faults is None:
        return None
    plan = FaultPlan(arguments.faults or secrets.randbelow(1 << 31) + 1, every=max(arguments.faults_every, 1))
    _log.info("faults; with this seed they can be repeated", seed=plan.seed, every=plan.every)
    return plan


async def _serve(arguments: argparse.Namespace) -> None:
    seconds = arguments.walk_hours * 3_600
    sources: dict[str, Path | RandomWalk] = {
        code: RandomWalk(symbols, seconds, arguments.walk_rate, clock_off_s=arguments.clock_off)
        for code, symbols in arguments.walk
    }
    simulator = Simulator(
        {**sources, **dict(arguments.recording)},
        speed=arguments.speed,
        wait_for_subscribers=arguments.wait_for_subscribers,
        all_streams=arguments.all_streams,
        plan=_plan(arguments),
        refused={code: frozenset(symbols) for code, symbols in arguments.refuse},
    )
    port = await simulator.start(arguments.port)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    _log.info("serving", url=f"ws://127.0.0.1:{port}/<exchange code>", status=f"http://127.0.0.1:{port}/status")
    if arguments.state is not None:
        write_whole(arguments.state, f"127.0.0.1:{port}".encode())
    playing = asyncio.ensure_future(simulator.wait())
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([playing, stopped], return_when=asyncio.FIRST_COMPLETED)
        if playing.done():
            playing.result()
        await stopped
    finally:
        playing.cancel()
        await simulator.close()
        if arguments.state is not None:
            arguments.state.unlink(missing_ok=True)


def main() -> int:
    """Run the simulator. Returns exit code 1, with a message, if it cannot start or read a recording."""
    arguments = _arguments()
    logs.configure("INFO", "simulator")
    try:
        asyncio.run(_serve(arguments))
    except (SimulatorError, UnknownExchangeError, RecordingError) as error:
        _log.error("not started", error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

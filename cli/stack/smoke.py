"""`medallion smoke`: checks a stack from end to end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import requests
import typer

from cli.common.arguments import YEAR_S
from cli.common.context import DataDirOption, JsonOption, err, load_settings, print_json, print_table
from cli.common.statements import http_client, rows
from config.errors import MedallionError
from config.process.retry import retry_for
from config.settings import Settings
from ddl.layers import load_layers
from offload.clickhouse.tiers import Tiers
from offload.hourly.status import status as offload_status
from offload.run import run as run_offload
from producers.kafka.envelope import bare
from producers.kafka.publisher import KafkaPublisher
from schemas.reasons import Reason

# Not an exchange: its messages go to the raw topic of unlisted exchanges, and from there to the dead letters.
EXCHANGE = "smoke"
POLL_S = 0.5
REQUEST_S = 10.0


class NotSeenError(MedallionError):
    """A check has not found its evidence (yet)."""


class SmokeError(MedallionError):
    """A check failed."""


@dataclass(frozen=True)
class Result:
    """How one check ended; `skipped` where the stack has no such part."""

    name: str
    outcome: Literal["ok", "failed", "skipped"]
    seconds: float
    detail: str


def check(name: str, settings: Settings, timeout_s: float) -> Result:
    """Run one check until it succeeds, for at most `timeout_s`; a failure is a result as well."""
    started = time.monotonic()
    failures = (MedallionError, requests.RequestException)
    attempts = retry_for(timeout_s, failures, first_s=POLL_S, longest_s=POLL_S)
    try:
        detail = attempts(CHECKS[name](settings))
    except failures as error:
        return Result(name, "failed", time.monotonic() - started, str(error))
    return Result(
        name, "skipped" if detail is None else "ok", time.monotonic() - started, detail or "not in this stack"
    )


# Called until it returns: a text, or None where the stack has no such part.
Check = Callable[[], str | None]


def _candles(settings: Settings) -> Check:
    """Every time frame has candles, each within its own high and low."""

    timeframes = load_layers().timeframes
    shortest = timeframes[0]

    def look() -> str:
        with http_client(settings) as client:
            (found,) = rows(client, "smoke_candles", {"view": shortest.view})
        if not found["candles"]:
            raise NotSeenError(f"{shortest.view} is empty: do producers publish (`medallion drain`, producers' logs)?")
        if found["impossible"]:
            raise NotSeenError(f"{found['impossible']} candles are not within their own high and low: this is a bug.")
        if missing := [frame.code for frame in timeframes if frame.seconds not in found["frames"]]:
            raise NotSeenError(f"there are no candles of {', '.join(missing)}.")
        return (
            f"{found['candles']:,} {shortest.code} candles of {found['markets']} markets, the newest of "
            f"{found['newest']:%Y-%m-%d %H:%M} UTC"
        )

    return look


def _dead_letters(settings: Settings) -> Check:
    """One message that is no trade, from the broker through every layer to the dead letters, with the right reason."""
    payload = f"smoke test {uuid.uuid4()}"
    sent: list[str] = []

    def look() -> str:
        if not sent:
            with KafkaPublisher(settings) as publisher:
                publisher.publish([bare(EXCHANGE, payload, time.time_ns() // 1_000)])
            sent.append(payload)
        with http_client(settings) as client:
            (found,) = rows(client, "smoke_dead_letter", {"payload": payload, "exchange": EXCHANGE})
        if not found["reasons"]:
            raise NotSeenError("a message that is no trade has not become a dead letter: see Silver's log and lag.")
        if found["reasons"] != [Reason.EXCHANGE_UNKNOWN.value]:
            raise NotSeenError(f"a message of an unknown exchange was rejected as {found['reasons']}: this is a bug.")
        return f"rejected as {found['reasons'][0]}; {found['open']:,} open dead letters in all"

    return look


def _offload(settings: Settings) -> Check:
    """Every layer in Iceberg, the open hour too."""

    def look() -> str:
        tiers = Tiers.open(settings)
        report = run_offload(tiers, until_now=True)
        tables = offload_status(tiers)
        empty = [
            table.table for table in tables if table.table.startswith(("raw", "silver", "gold")) and not table.rows
        ]
        if empty:
            raise NotSeenError(f"nothing of {', '.join(empty)} is in Iceberg: see `medallion offload status`.")
        return f"{sum(table.rows for table in tables):,} rows in {len(tables)} cold tables, in {report.seconds:.1f} s"

    return look


def _metrics(settings: Settings) -> Check:
    """Prometheus reaches at least one of its targets and has the rules."""

    def look() -> str | None:
        base = settings.prometheus_url.rstrip("/")
        if not base:
            return None
        targets = _json(f"{base}/api/v1/targets?state=active")["data"]["activeTargets"]
        rules = _json(f"{base}/api/v1/rules")["data"]["groups"]
        up = sorted({target["labels"]["job"] for target in targets if target["health"] == "up"})
        if not up:
            raise NotSeenError("Prometheus reaches none of its targets.")
        if not rules:
            raise NotSeenError("Prometheus has no rules: is deploy/compose/prometheus mounted?")
        return f"{len(targets)} targets, up: {', '.join(up)}; {sum(len(group['rules']) for group in rules)} rules"

    return look


def _dashboards(settings: Settings) -> Check:
    """Grafana has its dashboards, and its data sources answer."""

    def look() -> str | None:
        base = settings.grafana_url.rstrip("/")
        if not base:
            return None
        login = (settings.grafana_user, settings.grafana_password.get_secret_value())
        found = _json(f"{base}/api/search?type=dash-db", login)
        if not found:
            raise NotSeenError("Grafana has no dashboard: is deploy/compose/grafana mounted?")
        for one in found:
            _json(f"{base}/api/dashboards/uid/{one['uid']}", login)
        sources = _json(f"{base}/api/datasources", login)
        for source in sources:
            _json(f"{base}/api/datasources/uid/{source['uid']}/health", login)
        return f"{len(found)} dashboards; data sources that answer: {', '.join(source['name'] for source in sources)}"

    return look


def _json(url: str, login: tuple[str, str] | None = None) -> Any:
    answer = requests.get(url, auth=login, timeout=REQUEST_S)
    if not answer.ok:
        raise NotSeenError(f"{url} answered {answer.status_code}: {answer.text[:200]}")
    return answer.json()


CHECKS: dict[str, Callable[[Settings], Check]] = {
    "candles": _candles,
    "dead letters": _dead_letters,
    "offload": _offload,
    "metrics": _metrics,
    "dashboards": _dashboards,
}


def smoke(
    timeout: Annotated[
        float, typer.Option(help="Seconds that each check may wait for its result.", min=0, max=YEAR_S)
    ] = 120,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a running stack from end to end: candles, dead letters, offload, dashboards; exit 1 if one fails.

    Sends one message that is no trade, and so leaves one dead letter of the exchange `smoke`; offloads all hours,
    the open one too (the hourly offload replaces it). The checks of dashboards and metrics are skipped
    if MEDALLION_GRAFANA_URL or MEDALLION_PROMETHEUS_URL is not set.
    """
    settings = load_settings(data_dir)
    results: list[Result] = []
    for name in CHECKS:
        with err.status(f"Checking {name} …"):
            results.append(check(name, settings, timeout))
    if as_json:
        print_json(results)
    else:
        rows = [(result.name, result.outcome, round(result.seconds, 1), result.detail) for result in results]
        print_table("Smoke test", ("check", "outcome", "s", "detail"), rows)
    failed = [result.name for result in results if result.outcome == "failed"]
    if failed:
        raise SmokeError(f"{', '.join(failed)} failed: the last column above says why, the services' logs say more.")

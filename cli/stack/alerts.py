"""`medallion alert test` sends a test alert. Also finds who receives alerts."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import requests
import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families

from cli.common.arguments import YEAR_S
from cli.common.context import DataDirOption, JsonOption, err, load_settings, out, print_json
from config.errors import MedallionError
from config.settings import Settings

app = typer.Typer(help="Test the delivery of alerts.", no_args_is_help=True)

REQUEST_S = 10.0
POLL_S = 0.5
_CONFIGS = "_configs"
_SENT, _FAILED = "alertmanager_notification_requests", "alertmanager_notification_requests_failed"
NOBODY = (
    "Alerts reach nobody: they show on Alertmanager's page only. Set ALERT_RECEIVER (webhook, slack or email) and its"
    " address in .env, run `docker compose up -d`, then `medallion alert test`."
)


class AlertError(MedallionError):
    """An alert was not delivered; the message says at which step."""


@dataclass(frozen=True)
class AlertDelivery:
    """A delivered test alert; `integrations`: Alertmanager's names of the receivers that took it."""

    integrations: tuple[str, ...]
    seconds: float


@app.callback()
def alert() -> None:
    """Test the delivery of alerts."""


@app.command("test")
def send_test(
    timeout: Annotated[float, typer.Option(help="Seconds to wait until it is delivered.", min=0, max=YEAR_S)] = 60.0,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send the alert MedallionTest through Alertmanager and wait until the receiver accepts it; exit 1 if not."""
    with err.status("Waiting for the receiver …"):
        delivery = send(load_settings(data_dir), timeout)
    if as_json:
        print_json(delivery)
        return
    out.print(f"Delivered by {', '.join(delivery.integrations)} in {delivery.seconds:.1f} s.")


def receivers(base: str) -> tuple[str, ...]:
    """The integrations (`webhook`, `slack`, …) of the receiver that an alert goes to by default.

    Raises:
        AlertError: Alertmanager does not answer as itself.
    """
    answer = _ask("GET", f"{base}/api/v2/status").json()
    document = yaml.safe_load(answer["config"]["original"])
    chosen = document["route"]["receiver"]
    (receiver,) = (entry for entry in document["receivers"] if entry["name"] == chosen)
    return tuple(
        sorted(name.removesuffix(_CONFIGS) for name, many in receiver.items() if name.endswith(_CONFIGS) and many)
    )


@dataclass(frozen=True)
class Watch:
    """Whether faults of a deployed stack raise alerts that reach somebody.

    `unknown`: why nobody knows, as Prometheus or Alertmanager does not answer; "" if both do, or are not configured.
    `warning`: that alerts reach nobody.
    """

    unknown: str = ""
    warning: str = ""


def watch(settings: Settings) -> Watch:
    """Ask Prometheus, which raises the alerts, and Alertmanager, which sends them, for `medallion status`."""
    silent, warning = [], ""
    try:
        if settings.prometheus_url:
            _ask_prometheus(settings.prometheus_url.rstrip("/"))
    except AlertError as error:
        silent.append(str(error))
    try:
        if settings.alertmanager_url and not receivers(_base(settings)):
            warning = NOBODY
    except AlertError as error:
        silent.append(str(error))
    return Watch(" ".join(silent), warning)


def send(settings: Settings, timeout_s: float) -> AlertDelivery:
    """Fire MedallionTest and wait until each integration of the receiver has delivered something.

    Raises:
        AlertError: nobody receives alerts, the receiver refuses them, or nothing came of it in time.
    """
    base = _base(settings)
    integrations = receivers(base)
    if not integrations:
        raise AlertError(NOBODY)
    before, started = _counts(base), time.monotonic()
    alert = {
        "labels": {"alertname": "MedallionTest", "severity": "info", "run": uuid.uuid4().hex},
        "annotations": {"summary": "A test by `medallion alert test`: nothing is wrong, and alerts reach you."},
        "endsAt": (datetime.now(UTC) + timedelta(minutes=1)).isoformat(),
    }
    _ask("POST", f"{base}/api/v2/alerts", [alert])
    while True:
        now, elapsed = _counts(base), time.monotonic() - started
        gained = {
            name: (now.get((_SENT, name), 0) - before.get((_SENT, name), 0),
                   now.get((_FAILED, name), 0) - before.get((_FAILED, name), 0))
            for name in integrations
        }  # fmt: skip
        if all(sent > failed for sent, failed in gained.values()):
            return AlertDelivery(integrations, elapsed)
        if elapsed > timeout_s:
            refused = [name for name, (_, failed) in gained.items() if failed]
            raise AlertError(
                f"The alert was not delivered within {timeout_s:g} s:"
                f" {', '.join(refused) or ', '.join(integrations)} {'refused it' if refused else 'did not answer'}."
                " Check its address in .env; `docker compose logs alertmanager` has the reason."
            )
        time.sleep(POLL_S)


def _base(settings: Settings) -> str:
    if not settings.alertmanager_url:
        raise AlertError("No Alertmanager is known: set MEDALLION_ALERTMANAGER_URL, such as http://alertmanager:9093.")
    return settings.alertmanager_url.rstrip("/")


def _ask(method: str, url: str, body: Any = None) -> requests.Response:
    try:
        answer = requests.request(method, url, json=body, timeout=REQUEST_S)
    except requests.RequestException as error:
        raise AlertError(
            f"Alertmanager does not answer at {url}: is the profile observability up? ({error})"
        ) from error
    if not answer.ok:
        raise AlertError(f"{method} {url} answered {answer.status_code}: {answer.text[:200]}")
    return answer


def _ask_prometheus(prometheus: str) -> None:
    try:
        # Unlike a path for health checks, every service with Prometheus' interface has this one.
        requests.get(f"{prometheus}/api/v1/query", {"query": "1"}, timeout=REQUEST_S).raise_for_status()
    except requests.RequestException as error:
        raise AlertError(
            f"Prometheus does not answer at {prometheus}: no alert is raised, and nobody knows whether one should be."
            f" Is the profile observability up? ({error})"
        ) from error


def _counts(base: str) -> dict[tuple[str, str], float]:
    """Requests to receivers since Alertmanager's start, all and failed ones, by integration."""
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(_ask("GET", f"{base}/metrics").text):
        if family.name in {_SENT, _FAILED}:
            for sample in family.samples:
                key = family.name, sample.labels["integration"]
                found[key] = found.get(key, 0) + sample.value
    return found

"""Asks the Silver workers by which rules they validate, and compares these with a symbols file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import requests
from prometheus_client.parser import text_string_to_metric_families

from cli.common.context import deployed, out, print_table
from config.settings import Settings
from deploy.embedded import control

_TIMEOUT_S = 5.0
_METRIC = "medallion_silver_rules"
# Without the second half a worker that has ended would still be listed for five minutes.
_QUERY = f"{_METRIC} == 1 and on(job, instance) up == 1"
UNKNOWN = (
    "Which rules the Silver workers validate by is not known here: set MEDALLION_PROMETHEUS_URL to the Prometheus that "
    "watches them."
)


@dataclass(frozen=True, slots=True)
class WorkerRules:
    """The rules version of one Silver worker; "" if it is unknown, and `detail` says why."""

    worker: str
    rules_version: str
    detail: str = ""


def worker_rules(settings: Settings, data_dir: Path | None) -> list[WorkerRules]:
    """The rules of each worker of the stack that `cli.common.context.load_settings` chose.

    The workers of an embedded stack are asked directly, those of a deployed one through Prometheus. The list is
    empty if there is no Prometheus to ask, or if it knows no worker.

    Raises:
        StackError: as `load_settings`.
    """
    if data_dir is None and deployed():
        return _by_prometheus(settings.prometheus_url.rstrip("/")) if settings.prometheus_url else []
    services = control.find(data_dir).services
    return [_ask(service.name, service.metrics_url) for service in services if service.name.startswith("silver-")]


def print_workers(workers: Sequence[WorkerRules]) -> None:
    """Print a line for each worker."""
    if not workers:
        out.print(UNKNOWN)
        return
    print_table(
        "Silver workers",
        ("worker", "rules version", "detail"),
        [(one.worker, one.rules_version or "unknown", one.detail) for one in workers],
    )


def differing(workers: Sequence[WorkerRules], rules_version: str) -> list[WorkerRules]:
    """The workers that validate by other rules, or by rules that are unknown."""
    return [worker for worker in workers if worker.rules_version != rules_version]


def difference(workers: Sequence[WorkerRules], rules_version: str, symbols_file: Path) -> str:
    """In words, how the workers' rules differ from those of a symbols file; "" if they do not."""
    if not workers:
        return UNKNOWN
    others = differing(workers, rules_version)
    if not others:
        return ""
    named = ", ".join(
        f"{one.worker} by {one.rules_version}" if one.rules_version else f"{one.worker}: {one.detail}" for one in others
    )
    return (
        f"The workers do not validate by the rules of {symbols_file} ({rules_version}): {named}. What passes here may "
        "be rejected there. A worker takes a changed file over within a second or two; give all of them this file."
    )


def _ask(worker: str, url: str) -> WorkerRules:
    try:
        answer = requests.get(url, timeout=_TIMEOUT_S, allow_redirects=False)
        answer.raise_for_status()
    except requests.RequestException as error:
        return WorkerRules(worker, "", f"its metrics do not answer ({type(error).__name__})")
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            if sample.name == _METRIC and sample.value == 1:
                return WorkerRules(worker, sample.labels["version"])
    return WorkerRules(worker, "", "it has not loaded its rules yet")


def _by_prometheus(base: str) -> list[WorkerRules]:
    try:
        answer = requests.get(f"{base}/api/v1/query", params={"query": _QUERY}, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        found = answer.json()["data"]["result"]
        return sorted(
            (WorkerRules(one["metric"]["instance"], one["metric"]["version"]) for one in found),
            key=lambda one: one.worker,
        )
    except (requests.RequestException, KeyError, TypeError, ValueError) as error:
        return [WorkerRules("all", "", f"Prometheus at {base} does not say ({type(error).__name__})")]

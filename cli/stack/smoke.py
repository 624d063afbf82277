"""`medallion smoke`: does a stack that was just started do what it is for?"""

from __future__ import annotations

from typing import Annotated

import typer

from cli.common.context import DataDirOption, JsonOption, err, load_settings, print_json, print_table
from cli.stack.smoke_checks import CHECKS, Result, check
from config.errors import MedallionError


class SmokeError(MedallionError):
    """A check failed."""


def smoke(
    timeout: Annotated[
        float, typer.Option(help="Seconds that each check may wait for what it looks for.", min=0)
    ] = 120,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a running stack from end to end: candles, dead letters, offload, dashboards; exit 1 if one fails.

    Sends one message that is no trade, and so leaves one dead letter of the exchange `smoke`; offloads what there is,
    the open hour too (the hourly offload replaces it). Dashboards are left out where MEDALLION_GRAFANA_URL and
    MEDALLION_PROMETHEUS_URL are not set.
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

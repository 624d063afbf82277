"""Checks the clock against the parts of the stack and the kernel's NTP state. No other server is asked."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import requests

from cli.stack.doctor.finding import Finding
from config.connections import clickhouse_requests
from config.settings import Settings

# The header Date has whole seconds, so a difference of a second cannot be seen.
WARN_S = 2.0
FAIL_S = 60.0
_HALF_A_SECOND = 0.5
_REQUEST_S = 5.0
# `struct timex` has 208 bytes on 64-bit Linux; a larger buffer is safe.
_TIMEX_BYTES = 512
# adjtimex(2): the clock is not synchronised.
_TIME_ERROR = 5
_KEEP_TIME = "keep time with an NTP service (chrony, systemd-timesyncd) on every machine of the stack"


def clock(offsets: Mapping[str, float], synchronised: bool | None) -> Finding:
    """Check that this machine's clock agrees with the clocks of the stack's parts.

    `offsets`: by part, how many seconds its clock is ahead. `synchronised`: the kernel's NTP state, None if unknown.
    """
    worst = max(offsets, key=lambda part: abs(offsets[part]), default="")
    off = offsets.get(worst, 0.0)
    ntp = {True: "the kernel says synchronised", False: "the kernel says not synchronised", None: ""}[synchronised]
    if abs(off) >= WARN_S:
        found = f"{worst} is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} this machine"
        return Finding("clock", "fail" if abs(off) >= FAIL_S else "warn", found, _KEEP_TIME)
    agree = f"within {WARN_S:g} s of {', '.join(sorted(offsets))}" if offsets else ""
    found = "; ".join(filter(None, (agree, ntp)))
    if synchronised is False:
        return Finding("clock", "warn", found, _KEEP_TIME)
    if not found:
        return Finding("clock", "warn", "neither the kernel nor a part of a stack says the time", _KEEP_TIME)
    return Finding("clock", "ok", found)


def offsets(settings: Settings) -> dict[str, float]:
    """By part of the stack that answers over HTTP, how many seconds its clock is ahead, from its header Date."""
    by_part = {name: _offset(url, verify) for name, (url, verify) in _addresses(settings).items()}
    return {name: offset for name, offset in by_part.items() if offset is not None}


def is_synchronised() -> bool | None:
    """Whether the kernel says that its clock is synchronised; None if it cannot be asked."""
    ask = getattr(ctypes.CDLL(None), "adjtimex", None)
    if ask is None:
        return None
    # Zeros change nothing: the call only reads.
    state = ask(ctypes.create_string_buffer(_TIMEX_BYTES))
    return None if state < 0 else state != _TIME_ERROR


def _addresses(settings: Settings) -> dict[str, tuple[str, str | bool]]:
    clickhouse = clickhouse_requests(settings)
    addresses: dict[str, tuple[str, str | bool]] = {
        "ClickHouse": (f"{clickhouse['url']}ping", clickhouse["verify"]),
        "catalog": (settings.iceberg_catalog_uri, str(settings.iceberg_ca_file or "") or True),
        "object store": (settings.s3_endpoint, str(settings.s3_ca_file or "") or True),
        "Prometheus": (settings.prometheus_url, True),
        "Alertmanager": (settings.alertmanager_url, True),
        "Grafana": (settings.grafana_url, True),
    }
    return {name: place for name, place in addresses.items() if place[0].startswith(("http://", "https://"))}


def _offset(url: str, verify: str | bool) -> float | None:
    before = time.time()
    try:
        answer = requests.get(url, timeout=_REQUEST_S, allow_redirects=False, verify=verify)
        says = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (requests.RequestException, KeyError, ValueError):
        return None
    return says + _HALF_A_SECOND - (before + time.time()) / 2

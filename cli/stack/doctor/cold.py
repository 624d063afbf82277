"""Checks of the catalog, the bucket, the offload and the receiver of alerts. No check creates a folder or a table."""

from __future__ import annotations

from collections.abc import Sequence

from cli.stack.alerts import NOBODY, receivers
from cli.stack.doctor.finding import Finding, attempt
from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp
from offload.clickhouse.tiers import Tiers
from offload.hourly.status import TableStatus
from offload.hourly.status import status as cold_status
from offload.tables.catalog import ColdTier
from offload.tables.cold_tables import TABLES

# As the alert OffloadBehind.
BEHIND_S = 7_200
_OFFLOAD = "`medallion offload run` now; `medallion up --offload` or the service `offload` every hour"
_KEYS = "MEDALLION_S3_ENDPOINT and its keys, and that the store is up"


def cold(settings: Settings) -> list[Finding]:
    """Check catalog, bucket and offload; each only if the one before answers."""
    opened: list[ColdTier] = []

    def look() -> Finding:
        tier = ColdTier.look(settings)
        missing = tier.missing()
        if not missing:
            opened.append(tier)
            return Finding("catalog", "ok", f"{len(TABLES)} cold tables")
        if len(missing) == len(TABLES):
            return Finding("catalog", "ok", "has no cold tables yet: the first offload makes them")
        return Finding(
            "catalog", "fail", f"lacks {', '.join(missing)}", "`medallion offload run` makes what is missing"
        )

    catalog = attempt("catalog", "check MEDALLION_ICEBERG_CATALOG_URI and its login, and that the catalog is up", look)
    if catalog.outcome == "fail":
        return [catalog]
    if not opened:
        return [catalog, Finding("offload", "warn", "nothing is in Iceberg yet", _OFFLOAD)]
    (tier,) = opened
    bucket = attempt("bucket", f"check {_KEYS}", lambda: _bucket(tier))
    if bucket.outcome == "fail":
        return [catalog, bucket]
    return [catalog, bucket, attempt("offload", _OFFLOAD, lambda: _offload(settings, tier))]


def watermark(tables: Sequence[TableStatus]) -> Finding:
    """Check that Iceberg has every arrival hour that is over, except those that became due lately."""
    worst = max(tables, key=lambda table: table.lag_seconds)
    behind = [table for table in tables if table.lag_seconds]
    complete = [table.complete_until for table in behind or tables if table.complete_until]
    # A table without a lag may have had no rows for days, so its last hour may be old.
    end = (min if behind else max)(complete, default=None)
    until = f"complete until {end:%Y-%m-%d %H:%M} UTC" if end else "no hour is complete"
    if worst.lag_seconds <= BEHIND_S:
        return Finding("offload", "ok", until)
    hours = worst.lag_seconds / 3600
    return Finding("offload", "warn", f"{worst.table} is {hours:,.1f} hours behind; {until}", _OFFLOAD)


def alerts(settings: Settings) -> Finding:
    """Check that the alerts of a deployed stack have a receiver.

    Raises:
        AlertError: Alertmanager does not answer as itself.
    """
    if not settings.alertmanager_url:
        remedy = "set MEDALLION_ALERTMANAGER_URL, such as http://alertmanager:9093"
        return Finding("alerts", "warn", "no Alertmanager is known here", remedy)
    names = receivers(settings.alertmanager_url.rstrip("/"))
    if not names:
        return Finding("alerts", "warn", "no receiver is set", NOBODY)
    return Finding("alerts", "ok", f"by {', '.join(names)}; `medallion alert test` sends one")


def _bucket(tier: ColdTier) -> Finding:
    table = tier.load(TABLES[0])
    with table.io.new_input(table.metadata_location).open() as file:
        file.read(1)
    return Finding("bucket", "ok", f"{table.location()} can be read")


def _offload(settings: Settings, tier: ColdTier) -> Finding:
    return watermark(cold_status(Tiers(settings, ClickHouseHttp(settings), tier)))

"""Panels and dashboards as Grafana's JSON model has them (schema version 39, which Grafana 10 and later read)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
CLICKHOUSE = {"type": "grafana-clickhouse-datasource", "uid": "clickhouse"}
WIDTH = 24
_SCHEMA_VERSION = 39
_TABLE = 1
_GREEN_RED = ("green", "red")

Unit = Literal["s", "short", "percentunit", "cps", "bytes", "dateTimeAsIso", "none"]


@dataclass(frozen=True)
class Panel:
    """One panel: Prometheus expressions with their legends, or one ClickHouse query.

    Attributes:
        queries: expression to legend (`{{label}}` is replaced by Grafana).
        sql: instead; `$__timeFilter(column)` stands for the dashboard's time range.
        red_from: the value from which on it is red; the unit is that of the panel.
        red_below: the value below which it is red.
    """

    title: str
    queries: Mapping[str, str] = field(default_factory=dict)
    sql: str = ""
    unit: Unit = "short"
    width: int = 8
    height: int = 8
    kind: Literal["timeseries", "stat", "table", "bargauge"] = "timeseries"
    about: str = ""
    red_from: float | None = None
    red_below: float | None = None

    def model(self, number: int, x: int, y: int) -> dict[str, Any]:
        """Grafana's JSON of it."""
        source = CLICKHOUSE if self.sql else PROMETHEUS
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.about,
            "datasource": source,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "targets": [self._clickhouse()] if self.sql else self._prometheus(),
            "fieldConfig": {"defaults": {"unit": self.unit, **self._thresholds()}, "overrides": []},
            "options": {},
        }

    def _prometheus(self) -> list[dict[str, Any]]:
        return [
            {
                "refId": chr(ord("A") + place),
                "datasource": PROMETHEUS,
                "expr": expression,
                "legendFormat": legend,
                "instant": self.kind != "timeseries",
                "range": self.kind == "timeseries",
            }
            for place, (expression, legend) in enumerate(self.queries.items())
        ]

    def _clickhouse(self) -> dict[str, Any]:
        return {
            "refId": "A",
            "datasource": CLICKHOUSE,
            "editorType": "sql",
            "queryType": "table",
            "format": _TABLE,
            "rawSql": self.sql,
        }

    def _thresholds(self) -> dict[str, Any]:
        if self.red_from is None and self.red_below is None:
            return {}
        low, high = _GREEN_RED if self.red_from is not None else reversed(_GREEN_RED)
        limit = self.red_from if self.red_from is not None else self.red_below
        steps = [{"color": low, "value": None}, {"color": high, "value": limit}]
        return {"color": {"mode": "thresholds"}, "thresholds": {"mode": "absolute", "steps": steps}}


@dataclass(frozen=True)
class Dashboard:
    """A dashboard: its panels from left to right, in rows of `WIDTH`."""

    uid: str
    title: str
    panels: Sequence[Panel]

    def model(self) -> dict[str, Any]:
        """Grafana's JSON of it."""
        models = []
        x = y = row = 0
        for number, panel in enumerate(self.panels, 1):
            if x + panel.width > WIDTH:
                x, y, row = 0, y + row, 0
            models.append(panel.model(number, x, y))
            x, row = x + panel.width, max(row, panel.height)
        return {
            "uid": self.uid,
            "title": self.title,
            "tags": ["medallion"],
            "schemaVersion": _SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "timezone": "utc",
            "time": {"from": "now-1h", "to": "now"},
            "refresh": "15s",
            "annotations": {"list": []},
            "templating": {"list": []},
            "links": [
                {
                    "type": "dashboards",
                    "title": "Medallion",
                    "tags": ["medallion"],
                    "asDropdown": True,
                    "includeVars": False,
                }
            ],
            "panels": models,
        }

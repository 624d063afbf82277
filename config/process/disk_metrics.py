"""Shows free disk space to Prometheus; apart from `disks`, which every command imports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from config.process.disks import measure


class DiskMetrics(Collector):
    """`medallion_disk_free_bytes` and `medallion_disk_size_bytes` of folders, measured at each scrape."""

    def __init__(self, places: Mapping[str, Path]) -> None:
        """`places` has the folders by the value of their label."""
        self._places = dict(places)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Measure the disks."""
        free = GaugeMetricFamily("medallion_disk_free_bytes", "Space left on the disk of a folder", labels=["disk"])
        size = GaugeMetricFamily("medallion_disk_size_bytes", "Size of the disk of a folder", labels=["disk"])
        for disk in measure(self._places):
            free.add_metric([disk.name], disk.free)
            size.add_metric([disk.name], disk.size)
        return iter((free, size))

"""Gives each insert its rules: those of the symbols file, or those with which an interrupted insert began."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import structlog
import yaml

from config.registry import RegistryError, SymbolRegistry
from silver_processor.clickhouse import ClickHouse
from silver_processor.core.rules import Rules, changed_first_names

# A file that changed less than this long ago may be half written, and half a symbols file can be valid YAML.
SETTLE_SECONDS = 0.1
# A pin is needed until its insert is durable. Each partition has at most one such insert.
_MAX_PINS = 1_024
_MAX_VERSIONS = 8
_RULES = Path(__file__).with_name("sql").joinpath("rules.sql").read_text(encoding="utf-8")

Signature = tuple[int, int, int, int]


class RulesArchive:
    """The symbols file behind each rules version, in ClickHouse.

    Raises (both methods):
        WorkerStoppedError: the worker stops while ClickHouse is away.
    """

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    def keep(self, version: str, document: str) -> None:
        """Keep the file's content, once for each version. It is durable when this returns."""
        if self.document(version) is None:
            rows = pa.table({"rules_version": [version], "document": [document]})
            self._clickhouse.insert("rules_versions", rows, token=version)

    def document(self, version: str) -> str | None:
        """The file's content behind a version; None if it was not kept."""
        documents = self._clickhouse.select(_RULES, {"version": version})["document"].to_pylist()
        return str(documents[0]) if documents else None


class RuleBook:
    """Rules by version. Only `refresh` changes `current`.

    Every insert uses the version that was pinned when its range was recorded, even if the file has changed since. `pin`
    and `recall` do no I/O and may be called on an event loop. `refresh` and `rules_for` use the file and the archive.

    Args:
        path: the symbols file.
        archive: stores every version before it is used.
        failed: called with True when the file cannot be used (the rules stay as they are), with False when it can.
        clock: seconds since the epoch.
        shards: the number of Bronze shards. With more than one, a file that changes the first name of a market cannot
            be used: the market would move to another partition (`silver_processor.inserts.alias_routing`).
    """

    def __init__(
        self,
        path: Path,
        archive: RulesArchive,
        failed: Callable[[bool], object] = lambda _: None,
        clock: Callable[[], float] = time.time,
        shards: int = 1,
    ) -> None:
        """Raises:
        RegistryError: the file cannot be used.
        """
        self._path, self._archive, self._failed, self._clock, self._shards = path, archive, failed, clock, shards
        self._log = structlog.get_logger()
        self._lock = threading.Lock()
        self._pins: OrderedDict[str, str] = OrderedDict()
        self._versions: OrderedDict[str, Rules] = OrderedDict()
        self._signature = _signature(path)
        registry = SymbolRegistry.load(path)
        # The registry that the archive does not have yet.
        self._not_kept: SymbolRegistry | None = registry
        self.current = self._remember(Rules.of(registry))

    def refresh(self) -> None:
        """Load the file if it has changed. A file that cannot be used changes nothing, and is logged once.

        Raises:
            WorkerStoppedError: the worker stops while the archive is away.
        """
        self._keep()
        signature = _signature(self._path)
        if signature == self._signature or (signature and 0 <= self._clock() - signature[0] / 1e9 < SETTLE_SECONDS):
            return
        try:
            registry = SymbolRegistry.load(self._path)
            rules = Rules.of(registry)
            self._refuse_moves(rules)
        except RegistryError as error:
            if _signature(self._path) == signature:
                self._signature = signature
                self._failed(True)
                self._log.error("symbols file not usable, the rules stay", error=str(error), rules=self.current.version)
            return
        if _signature(self._path) != signature:
            return
        self._signature = signature
        self._failed(False)
        if rules.version == self.current.version:
            return
        self._not_kept = registry
        self._keep()
        self._log.info("rules changed", before=self.current.version, after=rules.version)
        self.current = self._remember(rules)

    def pin(self, token: str) -> str:
        """The rules version of an insert: the pinned one, or the current one, which is pinned now."""
        version = self.current.version
        with self._lock:
            if token not in self._pins:
                self._pin(token, version)
            return self._pins[token]

    def recall(self, token: str, version: str) -> None:
        """Pin the version with which an insert began, perhaps in another process."""
        with self._lock:
            self._pin(token, version)

    def _pin(self, token: str, version: str) -> None:
        self._pins[token] = version
        while len(self._pins) > _MAX_PINS:
            self._pins.popitem(last=False)

    def rules_for(self, token: str) -> Rules:
        """The rules of the version that is pinned for an insert.

        If the archive does not have the version, the current rules are used and an error is logged: waiting would stop
        the partition for ever. A trade may then be in Silver and among the dead letters, which `medallion lineage
        verify` shows.

        Raises:
            WorkerStoppedError: the worker stops while the archive is away.
        """
        with self._lock:
            version = self._pins.get(token, self.current.version)
            known = self._versions.get(version)
        if known is not None:
            return known
        document = self._archive.document(version)
        try:
            # An empty document raises RegistryError, so a missing one does, too.
            rules = Rules.of(SymbolRegistry.of(yaml.safe_load(document or "")))
        except RegistryError as error:
            self._log.error(
                "rules of an interrupted insert are lost, using the current ones",
                token=token,
                rules=version,
                error=str(error),
            )
            return self.current
        return self._remember(rules)

    def _refuse_moves(self, rules: Rules) -> None:
        """Refuse a file that moves a market to another partition.

        For a while two workers would insert its trades, and neither would know the other's inserts.
        """
        for exchange, canonical, before, after in changed_first_names(self.current, rules) if self._shards > 1 else []:
            message = (
                f"exchanges.{exchange}: the first name of {canonical} changes from {before!r} to {after!r} while "
                f"workers run on {self._shards} Bronze shards: keep {before!r} as the entry's name and {after!r} among "
                "its `aliases`, or stop every Silver worker, and start them with this file"
            )
            raise RegistryError(message)

    def _keep(self) -> None:
        if self._not_kept is not None:
            self._archive.keep(self._not_kept.rules_version, self._not_kept.document)
            self._not_kept = None

    def _remember(self, rules: Rules) -> Rules:
        with self._lock:
            self._versions[rules.version] = rules
            while len(self._versions) > _MAX_VERSIONS:
                self._versions.popitem(last=False)
        return rules


def _signature(path: Path) -> Signature | None:
    """A value that changes whenever the file does; None if the file cannot be read."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino

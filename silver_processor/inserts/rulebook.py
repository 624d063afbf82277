"""Which rules an insert is judged by: the symbols file's latest content, or those an interrupted insert began with."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog
import yaml

from config.registry import RegistryError, SymbolRegistry
from silver_processor.core.rules import Rules, moved

# A file younger than this may still be half written, and half a symbols file can be valid YAML.
SETTLE_SECONDS = 0.1
# A pin is needed until its insert is durable; there are as many such inserts as partitions.
_MOST_PINS = 1_024
_MOST_VERSIONS = 8

Signature = tuple[int, int, int, int]


class Archive(Protocol):
    """Where the content behind each rules version is kept (see `silver_processor.inserts.store.Store`)."""

    def keep_rules(self, version: str, document: str) -> None:
        """Return once the version is durable."""

    def rules_document(self, version: str) -> str | None:
        """What was kept, or None."""


class RuleBook:
    """Rules by version; `current` changes in `refresh` only.

    An insert is judged by the version that was pinned when its range was recorded, so by exactly one, whatever the
    file does meanwhile. `pin` and `recall` cost nothing and may be called on an event loop; `refresh` and `judge_by`
    read and write files and the archive.

    Args:
        path: the symbols file.
        archive: keeps every version before it is used.
        failed: told True when the file turns unusable (the rules then stay), False when it is in order.
        shards: with more than one, a file that moves a market to another home (`silver_processor.inserts.aliases`) is
        unusable.
    """

    def __init__(
        self,
        path: Path,
        archive: Archive,
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
        self._not_kept: SymbolRegistry | None = registry
        self.current = self._remember(Rules.of(registry))

    def refresh(self) -> None:
        """Take over a changed file; one that cannot be used changes nothing and is logged once.

        Raises:
            StoppedError: the worker stops while the archive is away.
        """
        self._keep()
        found = _signature(self._path)
        if found == self._signature or (found and 0 <= self._clock() - found[0] / 1e9 < SETTLE_SECONDS):
            return
        try:
            registry = SymbolRegistry.load(self._path)
            rules = Rules.of(registry)
            self._refuse_moves(rules)
        except RegistryError as error:
            if _signature(self._path) == found:
                self._signature = found
                self._failed(True)
                self._log.error("symbols file not usable, the rules stay", error=str(error), rules=self.current.version)
            return
        if _signature(self._path) != found:
            return
        self._signature = found
        self._failed(False)
        if rules.version == self.current.version:
            return
        self._not_kept = registry
        self._keep()
        self._log.info("rules changed", before=self.current.version, after=rules.version)
        self.current = self._remember(rules)

    def pin(self, token: str) -> str:
        """The version by which the insert is judged: the one it was begun with, else today's."""
        version = self.current.version
        with self._lock:
            if token not in self._pins:
                self._pin(token, version)
            return self._pins[token]

    def recall(self, token: str, version: str) -> None:
        """The insert was begun by `version`, perhaps by another process, and is judged by that again."""
        with self._lock:
            self._pin(token, version)

    def _pin(self, token: str, version: str) -> None:
        self._pins[token] = version
        while len(self._pins) > _MOST_PINS:
            self._pins.popitem(last=False)

    def judge_by(self, token: str) -> Rules:
        """The rules pinned for the insert.

        Today's, with an error in the log, where nothing is known of the version: its trades may then be in two
        places, which `medallion lineage verify` shows; waiting would stall the partition for ever.

        Raises:
            StoppedError: the worker stops while the archive is away.
        """
        with self._lock:
            version = self._pins.get(token, self.current.version)
            known = self._versions.get(version)
        if known is not None:
            return known
        document = self._archive.rules_document(version)
        try:
            # No document fails as an empty one does.
            rules = Rules.of(SymbolRegistry.of(yaml.safe_load(document or "")))
        except RegistryError as error:
            self._log.error(
                "rules of an interrupted insert are lost, judging by today's",
                token=token,
                rules=version,
                error=str(error),
            )
            return self.current
        return self._remember(rules)

    def _refuse_moves(self, rules: Rules) -> None:
        """Two workers would own the market for a while, and neither would know of the other's trades."""
        for exchange, canonical, before, after in moved(self.current, rules) if self._shards > 1 else []:
            message = (
                f"exchanges.{exchange}: the first name of {canonical} changes from {before!r} to {after!r} while "
                f"workers run on {self._shards} Bronze shards: keep {before!r} as the entry's name and {after!r} among "
                "its `aliases`, or stop every Silver worker, and start them with this file"
            )
            raise RegistryError(message)

    def _keep(self) -> None:
        if self._not_kept is not None:
            self._archive.keep_rules(self._not_kept.rules_version, self._not_kept.document)
            self._not_kept = None

    def _remember(self, rules: Rules) -> Rules:
        with self._lock:
            self._versions[rules.version] = rules
            while len(self._versions) > _MOST_VERSIONS:
                self._versions.popitem(last=False)
        return rules


def _signature(path: Path) -> Signature | None:
    """What changes whenever the file does; None where it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino

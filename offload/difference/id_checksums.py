"""Finds the trade ids of a day that differ between Bronze and Silver, by checksums in constant memory (pure).

Most trades are in Silver exactly as today's rules make them. To find the others, each trade id has a slot. A slot adds
the hashes of the valid messages with the id and subtracts those of Silver's rows. If a slot is zero, its messages and
rows are the same, in the same numbers. Silver may still have two messages of one trade as two rows: the hashes of all
ids tell.
"""

from __future__ import annotations

from threading import Lock

import numpy as np
import numpy.typing as npt
import polars as pl

from offload.difference.silver_difference import IDENTITY, REDERIVED_TOKEN, VALUES
from offload.tables.cold_tables import BY_NAME
from schemas.coordinates import COORDINATES

# With a million slots few trade ids of a day share one. Ids that share a slot are compared together.
SLOTS = 1 << 20
_MESSAGE_SLOTS = 1 << 23
# Twelve bytes each. Of a larger day, ids that Silver has twice are found one market at a time.
_MOST_IDS = 8_000_000
_SLOT_SEED, _MESSAGE_SEED, _ID_SEED = 0x452821E638D01377, 0xBE5466CF34E90C6C, 0xC0AC29B7C97C50DD
# Two hashes of 64 bits: different rows have the same sums with a probability of about 10^-38.
_SEEDS = (0x243F6A8885A308D3, 0x13198A2E03707344)
_COLD = pl.DataFrame(BY_NAME["silver_trades"].schema.as_arrow().empty_table()).schema
_COMPARED = pl.Schema({name: _COLD[name] for name in (*IDENTITY, *VALUES, *COORDINATES)})
_COORDINATE_TYPES = pl.Schema({name: _COLD[name] for name in COORDINATES})
# The columns of Silver that `add_silver` reads.
SILVER_COLUMNS = [*_COMPARED.names(), "insert_token"]

Flags = npt.NDArray[np.bool_]


class IdChecksums:
    """The suspect trade ids of one exchange and day: they may differ, or share a slot with an id that may differ.

    Several threads may add at once. Query the suspects only after everything is added.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        """`slots`: a power of two."""
        self._sums = np.zeros((len(_SEEDS), slots), dtype=np.uint64)
        self._rows = np.zeros(slots, dtype=np.uint32)
        self._suspect = np.zeros(slots, dtype=np.bool_)
        self._messages = np.zeros(_MESSAGE_SLOTS, dtype=np.bool_)
        self._ids: list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]] = []
        self._known_ids = 0
        self._unequal: Flags | None = None
        self._lock = Lock()

    def add_valid(self, messages: pl.DataFrame) -> None:
        """Add valid messages, as `refine` returns them."""
        self._add(messages, np.add)

    def add_silver(self, rows: pl.DataFrame) -> None:
        """Add rows of cold Silver (`SILVER_COLUMNS`).

        Rows that an earlier re-derivation added are suspect, since the stream may have brought the same trades. So are
        rows with the id of another row.
        """
        slots = _hashed(rows.select(COORDINATES).cast(_COORDINATE_TYPES), _MESSAGE_SEED, _MESSAGE_SLOTS)
        with self._lock:
            self._messages[slots] = True
        self._add(rows, np.subtract)
        self.mark_suspect(rows.filter(pl.col("insert_token").str.starts_with(REDERIVED_TOKEN))["trade_id"])
        ids = rows.select(IDENTITY).hash_rows(_ID_SEED).to_numpy(), self._slots(rows["trade_id"]).astype(np.uint32)
        with self._lock:
            if self._known_ids < _MOST_IDS:
                self._ids.append(ids)
                self._known_ids += rows.height

    def add_rejects(self, messages: pl.DataFrame) -> None:
        """Add messages that a rule rejects; their trade ids are suspect."""
        slots = self._slots(messages["trade_id"])
        with self._lock:
            np.add.at(self._rows, slots, 1)
        self.mark_suspect(messages["trade_id"])

    def mark_suspect(self, trade_ids: pl.Series) -> None:
        """Make these ids suspect, even if their checksums are equal."""
        self._suspect[self._slots(trade_ids)] = True
        self._unequal = None

    def may_be_in_silver(self, messages: pl.DataFrame) -> pl.Series:
        """For each message (`COORDINATES`) whether a row of Silver may come from it; False is certain."""
        slots = _hashed(messages.select(COORDINATES).cast(_COORDINATE_TYPES), _MESSAGE_SEED, _MESSAGE_SLOTS)
        return pl.Series(self._messages[slots])

    @property
    def suspect_rows(self) -> int:
        """How many messages and rows have suspect ids."""
        return int(self._rows[self._suspect_slots()].sum())

    def suspects(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows (any with a `trade_id`) whose id is suspect."""
        return rows.filter(pl.Series(self._suspect_slots()[self._slots(rows["trade_id"])]))

    def _add(self, rows: pl.DataFrame, apply: np.ufunc) -> None:
        slots = self._slots(rows["trade_id"])
        compared = rows.select(_COMPARED.names()).cast(_COMPARED)
        hashes = [compared.hash_rows(seed).to_numpy() for seed in _SEEDS]
        with self._lock:
            np.add.at(self._rows, slots, 1)
            for sums, row_hashes in zip(self._sums, hashes, strict=True):
                apply.at(sums, slots, row_hashes)
            self._unequal = None

    def _mark_repeated(self) -> None:
        """Make ids suspect that several rows of Silver have."""
        ordered = np.sort(np.concatenate([np.empty(0, np.uint64), *(hashes for hashes, _ in self._ids)]))
        repeated = ordered[1:][ordered[1:] == ordered[:-1]]
        for hashes, slots in self._ids if repeated.size else ():
            self._suspect[slots[np.isin(hashes, repeated)]] = True
        self._ids = []

    def _slots(self, trade_ids: pl.Series) -> npt.NDArray[np.int64]:
        return _hashed(trade_ids.to_frame(), _SLOT_SEED, len(self._suspect))

    def _suspect_slots(self) -> Flags:
        if self._unequal is None:
            self._mark_repeated()
            self._unequal = self._suspect | self._sums.any(axis=0)
        return self._unequal


def _hashed(rows: pl.DataFrame, seed: int, below: int) -> npt.NDArray[np.int64]:
    """A number in [0, `below`) for each row; `below` is a power of two."""
    return (rows.hash_rows(seed).to_numpy() & np.uint64(below - 1)).astype(np.int64)

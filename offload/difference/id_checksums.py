"""Bronze's messages against Silver's rows, in memory that does not depend on how many there are (pure).

Most trades are in Silver exactly as today's rules make them. These are told from the rest by sums: each trade id has a
slot, to which the valid messages with the id are added and from which Silver's rows with it are subtracted. Where a
slot comes to zero, messages and rows are the same, each as often.
"""

from __future__ import annotations

from threading import Lock

import numpy as np
import numpy.typing as npt
import polars as pl

from offload.difference.silver_difference import COORDINATES, IDENTITY, REDERIVED_TOKEN, VALUES
from offload.tables.cold_tables import BY_NAME

# So many rows of a day have few slots in common, and more rows only make more of them be judged with another's.
SLOTS = 1 << 20
_MESSAGE_SLOTS = 1 << 23
_SLOT_SEED, _MESSAGE_SEED = 0x452821E638D01377, 0xBE5466CF34E90C6C
# Two hashes of 64 bits: that other rows have the same sums has a chance of about 10^-38.
_SEEDS = (0x243F6A8885A308D3, 0x13198A2E03707344)
_COLD = pl.DataFrame(BY_NAME["silver_trades"].schema.as_arrow().empty_table()).schema
_COMPARED = pl.Schema({name: _COLD[name] for name in (*IDENTITY, *VALUES, *COORDINATES)})
_COORDINATE_TYPES = pl.Schema({name: _COLD[name] for name in COORDINATES})
# The columns of Silver that are weighed.
SILVER_COLUMNS = [*_COMPARED.names(), "insert_token"]

Flags = npt.NDArray[np.bool_]


class IdChecksums:
    """Which trade ids of one exchange and day must be judged: those in doubt, and any that share a slot with them.

    May be told by several threads at once, and asked when all is told.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        """`slots`: a power of two."""
        self._sums = np.zeros((len(_SEEDS), slots), dtype=np.uint64)
        self._rows = np.zeros(slots, dtype=np.uint32)
        self._suspect = np.zeros(slots, dtype=np.bool_)
        self._messages = np.zeros(_MESSAGE_SLOTS, dtype=np.bool_)
        self._unequal: Flags | None = None
        self._lock = Lock()

    def add_valid(self, messages: pl.DataFrame) -> None:
        """Valid messages, as `refine` gives them."""
        self._add(messages, np.add)

    def add_silver(self, rows: pl.DataFrame) -> None:
        """Rows of cold Silver (`SILVER_COLUMNS`). What an earlier re-derivation added may have come to the stream since."""
        slots = _hashed(rows.select(COORDINATES).cast(_COORDINATE_TYPES), _MESSAGE_SEED, _MESSAGE_SLOTS)
        with self._lock:
            self._messages[slots] = True
        self._add(rows, np.subtract)
        self.mark_suspect(rows.filter(pl.col("insert_token").str.starts_with(REDERIVED_TOKEN))["trade_id"])

    def add_rejects(self, messages: pl.DataFrame) -> None:
        """Messages that no rule lets through."""
        slots = self._slots(messages["trade_id"])
        with self._lock:
            np.add.at(self._rows, slots, 1)
        self.mark_suspect(messages["trade_id"])

    def mark_suspect(self, trade_ids: pl.Series) -> None:
        """Let these be judged, whatever the sums say."""
        self._suspect[self._slots(trade_ids)] = True
        self._unequal = None

    def may_be_in_silver(self, messages: pl.DataFrame) -> pl.Series:
        """Which messages (`COORDINATES`) may be those of Silver's rows; the others are not."""
        return pl.Series(self._messages[_hashed(messages.select(COORDINATES).cast(_COORDINATE_TYPES), _MESSAGE_SEED, _MESSAGE_SLOTS)])

    @property
    def suspect_rows(self) -> int:
        """How many messages and rows `suspects` chooses."""
        return int(self._rows[self._unequal_slots()].sum())

    def suspects(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Of any rows with a `trade_id` those that must be judged."""
        return rows.filter(pl.Series(self._unequal_slots()[self._slots(rows["trade_id"])]))

    def _add(self, rows: pl.DataFrame, apply: np.ufunc) -> None:
        slots = self._slots(rows["trade_id"])
        compared = rows.select(_COMPARED.names()).cast(_COMPARED)
        hashes = [compared.hash_rows(seed).to_numpy() for seed in _SEEDS]
        with self._lock:
            np.add.at(self._rows, slots, 1)
            for sums, some in zip(self._sums, hashes, strict=True):
                apply.at(sums, slots, some)
            self._unequal = None

    def _slots(self, trade_ids: pl.Series) -> npt.NDArray[np.int64]:
        return _hashed(trade_ids.to_frame(), _SLOT_SEED, len(self._suspect))

    def _unequal_slots(self) -> Flags:
        if self._unequal is None:
            self._unequal = self._suspect | self._sums.any(axis=0)
        return self._unequal


def _hashed(rows: pl.DataFrame, seed: int, below: int) -> npt.NDArray[np.int64]:
    """A number from 0 to `below`, a power of two, for each row."""
    return (rows.hash_rows(seed).to_numpy() & np.uint64(below - 1)).astype(np.int64)

"""One answer of a provider: the bytes as they came, and the texts of its rows. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import pyarrow as pa

from series.declaration import Series

# Texts by column name. A missing column is "": the provider does not give it.
Row = Mapping[str, str]
UNREADABLE = "unreadable"


class Defect(StrEnum):
    """Why no row of an answer could be read. Values never change, because they are stored."""

    NOT_JSON = "answer_not_json"
    OTHER_SHAPE = "answer_other_shape"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, or one part of a large file.

    `request`: the address that was asked, or the name of the file. `received_us`: µs since the epoch, UTC. `rows`: in
    the order of the answer; a row that cannot be read has only the key `UNREADABLE` with its text. `defect`: a
    `Defect` if there are no rows, else "".
    """

    provider: str
    request: str
    received_us: int
    body: bytes
    rows: Sequence[Row] = field(default_factory=tuple)
    defect: str = ""

    @property
    def id(self) -> str:
        """Names the answer in every layer: 32 hexadecimal digits, a digest of provider, request, time and body."""
        origin = "\0".join((self.provider, self.request, str(self.received_us))).encode()
        return hashlib.sha256(origin + b"\0" + self.body).hexdigest()[:32]


def landing_rows(series: Series, answers: Sequence[Answer]) -> pa.Table:
    """The answers as rows of the series' landing table.

    Columns: answer_id, provider, request, received_at (µs, UTC), body, defect, rows: list of structs of texts.
    """
    names = (*series.fields, UNREADABLE)
    texts = pa.array(
        [[{name: row.get(name, "") for name in names} for row in answer.rows] for answer in answers],
        pa.list_(pa.struct([pa.field(name, pa.string(), nullable=False) for name in names])),
    )
    return pa.table(
        {
            "answer_id": [answer.id for answer in answers],
            "provider": [answer.provider for answer in answers],
            "request": [answer.request for answer in answers],
            "received_at": pa.array([answer.received_us for answer in answers], pa.timestamp("us", "UTC")),
            "body": pa.array([answer.body for answer in answers], pa.binary()),
            "defect": [answer.defect for answer in answers],
            "rows": texts,
        }
    )

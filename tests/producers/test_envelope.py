"""Invariant: the envelope is the contract's record, its prefix is the SQL's fast path, its payload verbatim."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.backfill.checkpoint import BackfillCheckpoint, CheckpointError
from producers.exchanges.model import UNRECOGNISED, Control, Trade, Trades
from producers.gaps.events import read_event
from producers.kafka.envelope import Envelope, decode, encode, envelopes, shortened
from schemas.records import RawTrade

TEXT = r'"(?:[^"\\]|\\.)*"'
PREFIX = re.compile(
    rf'\{{"exchange":{TEXT},"symbol":{TEXT},"trade_id":{TEXT},"price":{TEXT},"quantity":{TEXT},"timestamp":{TEXT}'
    rf',"side":{TEXT},"sequence":{TEXT}(,"kind":{TEXT})?(,"matches":{TEXT})?,"received_at":[0-9]+'
    rf',"payload":{TEXT}(,"payload_encoding":"base64")?\}}',
    re.DOTALL,
)
texts = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.builds(Trade, *[texts] * 10), st.integers(0, 2**53))
def test_members_in_order_without_white_space_and_every_text_back_as_it_was(trade: Trade, received_at: int) -> None:
    (envelope,) = envelopes("kraken", b"", Trades([trade]), received_at)
    value = encode(envelope)
    assert PREFIX.fullmatch(value.decode())
    record = RawTrade.model_validate_json(value)
    names = ("symbol", "trade_id", "price", "quantity", "timestamp", "side", "sequence", "payload", "kind", "matches")
    assert [getattr(record, name) for name in names] == [getattr(trade, name) for name in names]
    assert (record.exchange, record.received_at, record.payload_encoding) == ("kraken", received_at, "")
    assert decode(value) == envelope


def test_the_envelope_is_the_schema_s_record() -> None:
    assert list(Envelope.__struct_fields__) == list(RawTrade.model_fields)


@given(st.binary(max_size=100))
def test_an_unrecognised_frame_has_no_field_and_its_bytes(frame: bytes) -> None:
    (envelope,) = envelopes("okx", frame, UNRECOGNISED, 7)
    value = json.loads(encode(envelope))
    encoded = value.pop("payload_encoding", "")
    payload = value.pop("payload")
    assert (base64.b64decode(payload) if encoded else payload.encode()) == frame
    assert value == {"exchange": "okx", "received_at": 7} | dict.fromkeys(
        ("symbol", "trade_id", "price", "quantity", "timestamp", "side", "sequence"), ""
    )


@pytest.mark.parametrize("deep", [b"[" * 200_000, b'{"a":' * 200_000, b'{"exchange":"okx","more":' + b"[" * 200_000])
def test_deep_json_is_no_message_of_ours(deep: bytes, tmp_path: Path) -> None:
    """Anybody may write to the topics, and --state may name any file."""
    with pytest.raises(msgspec.DecodeError):
        decode(deep)
    assert read_event(deep) is None
    (tmp_path / "state").write_bytes(deep + b"\n")
    with pytest.raises(CheckpointError, match="is no checkpoint file"), BackfillCheckpoint(tmp_path / "state", "w"):
        pass


def test_a_control_message_is_not_published() -> None:
    assert envelopes("okx", b"pong", Control("pong"), 1) == []


@given(
    st.sampled_from(["\x01", "é", '"', "𝄞", "a"]), st.integers(0, 200_000), st.booleans(), st.integers(65_536, 500_000)
)
def test_a_shortened_envelope_is_as_long_as_fits_whatever_its_characters_cost(
    character: str, count: int, everywhere: bool, limit: int
) -> None:
    text = character * count
    field = text if everywhere else "1"
    (envelope,) = envelopes("kraken", b"", Trades([Trade(*[field] * 7, text, field, field)]), 1)
    cut = shortened(envelope, limit)
    assert len(encode(cut)) < limit
    assert text.startswith(cut.payload)
    more = msgspec.structs.replace(cut, payload=text[: len(cut.payload) + 4])
    assert len(text) - len(cut.payload) < 4 or len(encode(more)) >= limit

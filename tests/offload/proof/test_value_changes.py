"""A message is held against the exchange's own text, whatever form that has."""

from __future__ import annotations

import json

import pytest

from offload.proof.value_changes import payload_to_raw

TRADE = {"trade_id": "25", "price": "93000.25000000", "quantity": "0.00250000", "symbol": "BTCUSDT", "side": "BUY"}
RAW = {**TRADE, "timestamp_raw": "1735689600000", "kind": "", "matches": ""}
LINE = "25,93000.25000000,0.00250000,232.50,1735689600000,False,True"


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps(LINE),
        json.dumps(LINE.replace(",", ", ")),
        json.dumps(f'"{LINE}"'.replace(",", '","')),
        json.dumps({"t": 25, "p": "93000.25000000", "q": "0.00250000"}),
        json.dumps([{"data": [["25", "93000.25000000", "0.00250000"]]}]),
    ],
)
@pytest.mark.parametrize(("field", "value"), [("price", "93000.25"), ("trade_id", "2"), ("quantity", "0.0025")])
def test_a_value_that_the_exchange_did_not_say_is_named_and_no_other(payload: str, field: str, value: str) -> None:
    def found(trade: dict[str, str]) -> list[str]:
        envelope = json.dumps({**trade, "timestamp": RAW["timestamp_raw"], "payload": payload})
        return [change.field for change in payload_to_raw(envelope, {**RAW, **trade})]

    assert found(TRADE) == []
    assert found({**TRADE, field: value}) == [field]

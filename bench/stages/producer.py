"""Measures producer stages: an exchange's frame to a raw message, and raw messages to the broker."""

from __future__ import annotations

import json
import time

from bench.isolated import Lap, lap
from bench.stages.material import broker, trades
from config.settings import Settings
from producers.exchanges import REGISTRY
from producers.kafka.envelope import encode, envelopes
from producers.kafka.publisher import KafkaPublisher


def parse_and_encode(rows: int, repetitions: int) -> list[Lap]:
    """Frame → parser → envelope → JSON bytes, as the live producer does."""
    frames = [(one.exchange, one.payload.encode()) for one in trades(rows, 1)]

    def work() -> None:
        for exchange, frame in frames:
            for envelope in envelopes(exchange, frame, REGISTRY[exchange].parse(frame), time.time_ns() // 1_000):
                encode(envelope)

    return [lap(rows, work) for _ in range(repetitions)]


def obvious_parse_and_encode(rows: int, repetitions: int) -> list[Lap]:
    """The obvious way: `json.loads`, a dictionary, `json.dumps`."""
    frames = [(one.exchange, one.payload) for one in trades(rows, 1)]

    def work() -> None:
        for exchange, frame in frames:
            trade = json.loads(frame)["data"]
            json.dumps(
                {
                    "exchange": exchange,
                    "symbol": trade["s"],
                    "trade_id": str(trade["t"]),
                    "price": trade["p"],
                    "quantity": trade["q"],
                    "timestamp": str(trade["T"]),
                    "side": "SELL" if trade["m"] else "BUY",
                    "sequence": "",
                    "received_at": time.time_ns() // 1_000,
                    "payload": frame,
                }
            ).encode()

    return [lap(rows, work) for _ in range(repetitions)]


def publish(rows: int, repetitions: int) -> list[Lap]:
    """Publish envelopes until the in-memory broker, whose CPU is counted too, has them. There is no consumer."""
    batch = trades(rows, 1)
    with broker() as (servers, process), KafkaPublisher(Settings(kafka_bootstrap_servers=servers)) as publisher:

        def work() -> None:
            publisher.publish(batch)
            publisher.flush()

        return [lap(rows, work, [process]) for _ in range(repetitions)]

"""A slow client loses old news, never a closed candle that a newer message could replace, and slows nobody."""

from __future__ import annotations

import asyncio

from serving import metrics
from serving.live.hub import Hub, Outbox
from serving.live.messages import Update
from serving.live.streams import Stream

STREAM = Stream("btcusdt@trade", ("binance", "BTCUSDT"), "trade")


def dropped() -> float:
    return metrics.DROPPED._value.get()


def drain(outbox: Outbox) -> list[object]:
    async def all_of_it() -> list[object]:
        return [(await outbox.take()).data["n"] for _ in range(len(outbox))]

    return asyncio.run(all_of_it())


def candle(number: int, *, closed: bool = False) -> Update:
    key = ("s", number) if closed else "s"
    return Update("s", {"n": number}, replaces=key, must_arrive=closed)


def test_the_newest_candle_wins_and_every_closed_one_stays() -> None:
    before, outbox = dropped(), Outbox()
    for number in range(100):
        outbox.put(candle(number, closed=number in {10, 20}))
    assert drain(outbox) == [10, 20, 99]
    assert dropped() - before == 97


def test_a_full_queue_drops_the_oldest_that_can_be_done_without() -> None:
    before, outbox = dropped(), Outbox(most=3)
    outbox.put(candle(0, closed=True))
    for number in range(1, 6):
        outbox.put(Update("s", {"n": number}))
    assert drain(outbox) == [0, 4, 5]
    assert dropped() - before == 3


def test_a_queue_stays_bounded_when_nothing_in_it_can_be_done_without() -> None:
    outbox = Outbox(most=3)
    for number in range(10):
        outbox.put(candle(number, closed=True))
    assert drain(outbox) == [7, 8, 9]


def test_a_client_that_does_not_read_takes_nothing_from_another() -> None:
    hub, slow, quick = Hub(), Outbox(most=2), Outbox()
    hub.listen(STREAM, slow)
    hub.listen(STREAM, quick)
    for number in range(50):
        hub.publish(STREAM, Update("s", {"n": number}))
    assert drain(quick) == list(range(50))
    assert len(slow) == 2


def test_a_subscription_is_confirmed_when_its_changes_are_published_from_then_on() -> None:
    """A trade between the answer and the first look would be in no answer of REST and in no message."""

    async def subscribe() -> None:
        hub, first, second = Hub(), Outbox(), Outbox()
        hub.listen(STREAM, first)
        waiting = asyncio.create_task(hub.until_followed([STREAM]))
        await asyncio.sleep(0)
        assert not waiting.done()
        hub.mark_followed([STREAM])
        await waiting
        hub.listen(STREAM, second)
        await hub.until_followed([STREAM])
        for outbox in (first, second):
            hub.leave(STREAM, outbox)
        hub.listen(STREAM, first)
        again = asyncio.create_task(hub.until_followed([STREAM]))
        await asyncio.sleep(0)
        assert not again.done()
        again.cancel()

    asyncio.run(subscribe())


def test_a_stream_that_nobody_listens_to_is_forgotten() -> None:
    hub, outbox = Hub(), Outbox()
    hub.listen(STREAM, outbox)
    hub.leave(STREAM, outbox)
    hub.publish(STREAM, Update("s", {"n": 1}))
    assert hub.streams == []
    assert len(outbox) == 0

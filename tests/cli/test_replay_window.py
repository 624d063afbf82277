"""Invariant: `medallion replay --from … --to …` refuses in the words of its options, not in those of the interface."""

from __future__ import annotations

import pytest

from cli.messages.replay_window import ReplayWindowError, replay_window
from config.settings import Settings

NOBODY = Settings(clickhouse_host="127.0.0.1", clickhouse_http_port=1)
DAY = ("kraken", "2026-01-01", "2026-01-02")


@pytest.mark.parametrize(
    ("window", "pin", "words"),
    [
        (("nosuch", *DAY[1:]), "", "--exchange must be one of binance, "),
        (("kraken", "yesterday", DAY[2]), "", "--from must be a time since 1970 such as "),
        (("kraken", DAY[1], "9999-12-31T23:59:59-23:59"), "", "--to must be a time since 1970 such as "),
        (("kraken", *DAY[:0:-1]), "", "--from must be before --to."),
        (("kraken", DAY[1], "2026-01-03"), "", "--from and --to must be at most 24 hours apart."),
        (DAY, "a.b", "--pin must be the name of a pin, "),
        (DAY, "", "ClickHouse does not answer, or refuses the query: `medallion status` shows"),
    ],
)
def test_a_refusal_names_the_option(window: tuple[str, str, str], pin: str, words: str) -> None:
    with pytest.raises(ReplayWindowError) as refused:
        replay_window(NOBODY, *window, pin=pin)
    assert str(refused.value).startswith(words)

"""The id of a raw message as `medallion dlq list` prints it: `topic[partition]@offset`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import typer

Message = tuple[str, int, int]
HELP = (
    "A message as `dlq list` prints it: 'market.crypto.trades.binance.raw[0]@42'; or its topic, partition and offset."
)
_ID = re.compile(r"(?P<topic>[^\[\]]+)\[(?P<partition>[0-9]{1,9})\]@(?P<offset>[0-9]{1,18})")


def message_id(row: Mapping[str, Any]) -> str:
    """The id of the message with these raw coordinates."""
    return f"{row['raw_topic']}[{row['raw_partition']}]@{row['raw_offset']}"


def parse_message(words: Sequence[str]) -> Message | None:
    """Topic, partition and offset of the message that an argument names; None without an argument.

    Raises:
        typer.BadParameter: the words name no message.
    """
    if not words:
        return None
    text = words[0] if len(words) == 1 else "{}[{}]@{}".format(*words) if len(words) == 3 else ""
    found = _ID.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(
            f"{' '.join(words)} names no message: give it as `dlq list` prints it, in quotes, such as "
            "'market.crypto.trades.binance.raw[0]@42'",
            param_hint="MESSAGE",
        )
    return found["topic"], int(found["partition"]), int(found["offset"])

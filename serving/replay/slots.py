"""The limit of replays at a time, and the setting that allows replays."""

from __future__ import annotations

from serving.errors import ApiError

_MOST_AT_ONCE = 2
# The longest replay, s.
LONGEST_S = 3_600


class Slots:
    """The slots of replays, which `/replay` and `/ws-replay` share."""

    def __init__(self, *, is_open: bool) -> None:
        """`is_open`: whether this service may show raw messages."""
        self._is_open = is_open
        self._free = _MOST_AT_ONCE

    def check_open(self) -> None:
        """Raises:
        ApiError: 403, this service shows no raw messages.
        """
        if not self._is_open:
            raise ApiError(
                -1002,
                "This service shows no raw messages: MEDALLION_SERVING_RAW=true opens them (docs/serving.md).",
                403,
            )

    def take(self) -> None:
        """Take a slot, which the caller gives back.

        Raises:
            ApiError: 429, no slot is free.
        """
        if not self._free:
            raise ApiError(-1003, f"Too many requests: {_MOST_AT_ONCE} replays run already. Try again later.", 429)
        self._free -= 1

    def give_back(self) -> None:
        """Free a slot."""
        self._free += 1

"""An exchange's markets as ccxt lists them, kept in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from config.errors import MedallionError

#: ccxt's market structures, also two of one unified symbol.
Markets = Sequence[Mapping[str, Any]]


class MarketsFileError(MedallionError):
    """A file of markets cannot be used."""


def read_markets(path: Path) -> Markets:
    """The markets in a file: ccxt's `load_markets()` as a JSON object, or `fetch_markets()` as a list.

    Numbers with a point keep their text.

    Raises:
        MarketsFileError: it cannot be read, or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_float=str)
    except OSError as error:
        raise MarketsFileError(f"{path}: {error.strerror}; give the path of a saved market list") from error
    except ValueError as error:
        raise MarketsFileError(f"{path}: not JSON: {error}") from error
    rows = list(found.values()) if isinstance(found, dict) else found
    # One market that is damaged is no reason to refuse the others: what is made of them leaves it out.
    if not isinstance(rows, list) or (rows and not any(isinstance(row, dict) and "id" in row for row in rows)):
        raise MarketsFileError(
            f"{path}: not a list of ccxt markets; make one with"
            " `python -c 'import ccxt, json; print(json.dumps(ccxt.kraken().load_markets()))'`"
        )
    return [row if isinstance(row, dict) else {"symbol": row} for row in rows]

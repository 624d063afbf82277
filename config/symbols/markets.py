"""Reads an exchange's markets from a file, in ccxt's form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from config.errors import MedallionError

# ccxt's market structures. Two of them may have the same unified symbol.
Markets = Sequence[Mapping[str, Any]]
# Most characters of a row that is no market, in messages.
_SHOWN = 40


class MarketsFileError(MedallionError):
    """A file of markets cannot be used."""


def read_markets(path: Path) -> Markets:
    """Read the markets from a file: ccxt's `load_markets()` as a JSON object, or `fetch_markets()` as a list.

    Numbers with a point stay text.

    Raises:
        MarketsFileError: the file cannot be read, or has other content.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"), parse_float=str)
    except OSError as error:
        raise MarketsFileError(f"{path}: {error.strerror}; give the path of a saved market list") from error
    except (ValueError, RecursionError) as error:
        raise MarketsFileError(f"{path}: not JSON: {error}; save the market list again") from error
    rows = list(found.values()) if isinstance(found, dict) else found
    # A damaged market is left out later. It does not make the others unusable.
    if not isinstance(rows, list) or (rows and not any(isinstance(row, dict) and "id" in row for row in rows)):
        raise MarketsFileError(
            f"{path}: not a list of ccxt markets; make one with"
            " `python -c 'import ccxt, json; print(json.dumps(ccxt.kraken().load_markets()))'`"
        )
    if not rows:
        raise MarketsFileError(f"{path}: has no market at all; save the market list again")
    return [row if isinstance(row, dict) else {"symbol": repr(row)[:_SHOWN]} for row in rows]

"""Binance's two dialects of an exchange's interface: spot (`/api/v3`) and USD-margined futures (`/fapi/v1`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from config.registry import ACTIVE, Entry
from serving.market_data.amounts import amount, decimals

_PRECISION = 8


@dataclass(frozen=True)
class Venue:
    """An exchange's interface.

    Attributes:
        exchange: the exchange code.
        is_futures: whether the dialect is `/fapi/v1`.
    """

    exchange: str
    is_futures: bool

    @property
    def most_candles(self) -> int:
        """The largest `limit` of a request for candles."""
        return 1_500 if self.is_futures else 1_000

    def market(self, entry: Entry) -> dict[str, Any]:
        """A market as `exchangeInfo` lists it; steps and minima only if the registry has them."""
        shared = {
            "symbol": entry.canonical,
            "status": "TRADING" if entry.status == ACTIVE else "BREAK",
            "baseAsset": entry.base,
            "quoteAsset": entry.quote,
            "baseAssetPrecision": _PRECISION,
            "quotePrecision": _PRECISION,
            "filters": _filters(entry, self),
        }
        if self.is_futures:
            return shared | {
                "pair": entry.base + entry.quote,
                "contractType": "PERPETUAL",
                "marginAsset": entry.quote,
                "pricePrecision": _PRECISION if entry.tick is None else decimals(entry.tick),
                "quantityPrecision": _PRECISION if entry.lot is None else decimals(entry.lot),
                "orderTypes": [],
                "timeInForce": [],
            }
        return shared | {
            "quoteAssetPrecision": _PRECISION,
            "orderTypes": [],
            "isSpotTradingAllowed": False,
            "isMarginTradingAllowed": False,
            "permissions": ["SPOT"],
            "permissionSets": [["SPOT"]],
        }


def _filters(entry: Entry, venue: Venue) -> list[dict[str, str]]:
    filters = []
    if entry.tick is not None:
        tick = amount(f"{entry.tick:f}")
        filters.append({"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "0.00000000", "tickSize": tick})
    if entry.lot is not None:
        lot, least = amount(f"{entry.lot:f}"), amount(f"{entry.quantity_min or entry.lot:f}")
        filters.append({"filterType": "LOT_SIZE", "minQty": least, "maxQty": "0.00000000", "stepSize": lot})
    if entry.notional_min is not None:
        least = amount(f"{entry.notional_min:f}")
        spot = {"filterType": "NOTIONAL", "minNotional": least}
        filters.append({"filterType": "MIN_NOTIONAL", "notional": least} if venue.is_futures else spot)
    return filters

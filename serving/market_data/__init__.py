"""Markets, candles, prices and series in the formats of the interfaces, read from ClickHouse.

Of `serving` it may import only `errors` and `metrics`."""

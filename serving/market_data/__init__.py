"""Markets, candles, prices and series in the formats of the interfaces, read from ClickHouse."""

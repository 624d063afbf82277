SELECT
    window_start, open, high, low, close, volume, CAST(quote_volume, 'Nullable(Decimal(38, 20))') AS quote_volume,
    trade_count, buy_volume
FROM bars_exact
WHERE exchange = {exchange:String} AND symbol = {symbol:String} AND frame = {frame:String} AND is_closed
  AND window_start >= {start:DateTime64(6, 'UTC')} AND window_start < {end:DateTime64(6, 'UTC')}

SELECT window_start, open, high, low, close, volume, quote_volume, trade_count, buy_volume
FROM {candles:Identifier}
WHERE exchange = {exchange:String} AND symbol = {symbol:String}
  AND window_start >= {start:DateTime64(6, 'UTC')} AND window_start < {end:DateTime64(6, 'UTC')}

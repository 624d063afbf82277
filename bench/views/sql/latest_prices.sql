SELECT * FROM latest_prices

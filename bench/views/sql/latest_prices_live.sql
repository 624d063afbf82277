SELECT * FROM latest_prices_live

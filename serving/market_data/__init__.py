"""Markets, candles and prices as the interfaces show them, and the SQL that asks for them."""

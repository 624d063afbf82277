"""TradingView's UDF: what its charting library, OpenBB and other charts ask a data feed."""

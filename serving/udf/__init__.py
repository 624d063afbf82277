"""TradingView's UDF: the data feed of its charting library, of OpenBB and of other charts.

May import `rest` and before."""

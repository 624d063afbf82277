"""Commands that publish messages, fetch series or read rows: produce, replay, backfill, series, quality, schedule,
symbols, query, drain. Of `cli` it may import only `common` and `coverage`."""

"""Commands that publish messages, fetch series or read rows: produce, replay, backfill, series, quality, schedule,
symbols, query, drain. May import `common` and `coverage`.
"""

-- The server's clock. It stamps arrivals, so it also decides when an hour is over.
SELECT toUnixTimestamp64Micro(now64(6)) AS now_us

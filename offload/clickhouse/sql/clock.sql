-- The server's clock stamps arrivals, hence it decides when a window is over.
SELECT toUnixTimestamp64Micro(now64(6)) AS now_us

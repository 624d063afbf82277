-- The server's version.
SELECT version()

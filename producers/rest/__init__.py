"""An exchange's trades over REST, page by page; may import `exchanges` and base modules."""

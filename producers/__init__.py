"""From an exchange's messages, live or recorded, to the raw topic. Imports `schemas`, `config` and libraries only."""

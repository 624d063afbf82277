"""From an exchange's messages, live or recorded, to the raw topic; imports `schemas`, `config` and libraries only."""

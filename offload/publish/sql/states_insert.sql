-- Insert the states again, by the query of the materialized view.
INSERT INTO gold_ohlcv_state
{{ states }}
SETTINGS deduplicate_insert_select = 'disable'

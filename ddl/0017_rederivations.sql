-- The steps of every publication of a re-derived day. When a day is switched, Silver's workers load the trades of its
-- exchange again. The next re-derivation completes a publication that was interrupted.
CREATE TABLE IF NOT EXISTS {{ db }}.rederivations{{ on_cluster }}
(
    publication String COMMENT 'id of one publication: the exchanges of a day',
    exchange LowCardinality(String),
    day Date,
    step Enum8('begun' = 1, 'switched' = 2, 'ended' = 3),
    cover LowCardinality(String) COMMENT 'what the candles of the day are read from meanwhile: silver or staged',
    owner String COMMENT 'host and process; one that lives keeps others out until its lease ends',
    lease_until DateTime64(6, 'UTC'),
    rules_version LowCardinality(String),
    noted_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = {{ sql.merge_tree() }}
ORDER BY (publication, step, exchange)
COMMENT 'Steps of the publications of re-derived days';

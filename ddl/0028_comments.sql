-- Comments for columns that analysts read and that had none. Analysts read Silver for its exact decimals.
ALTER TABLE {{ db }}.silver_trades{{ on_cluster }}
    COMMENT COLUMN raw_topic 'Kafka topic of the raw message',
    COMMENT COLUMN raw_partition 'Kafka partition of the raw message',
    COMMENT COLUMN raw_offset 'Kafka offset of the raw message',
    COMMENT COLUMN published_at 'Kafka timestamp of the raw message',
    COMMENT COLUMN received_at 'when the producer received it',
    COMMENT COLUMN ingested_at 'when ClickHouse took the raw message',
    COMMENT COLUMN bronze_partition 'partition of the Bronze topic',
    COMMENT COLUMN bronze_offset 'offset in the Bronze topic',
    COMMENT COLUMN bronze_published_at 'timestamp of the Bronze message',
    COMMENT COLUMN insert_token 'names the insert that brought it: a repeated one adds nothing',
    COMMENT COLUMN rules_version 'rules and registry that validated it: see rules_versions';

ALTER TABLE {{ db }}.left_partitions{{ on_cluster }}
    COMMENT COLUMN left_at 'when the durability gate let it go';

-- One row per execution and metric. {table} is the value of CLICKHOUSE_TABLE.

-- ReplacingMergeTree(recorded_at): of two rows with the same sort key the one whose Kafka record is younger stays, so a
-- redelivery changes nothing and the replay of an old dead letter never beats a newer event.
--
-- The sort key serves "one metric, one agent, a range of days". It holds the day, not the instant: a producer that sends
-- an event twice without `completed_at` gives the two rows different instants, and they must still be the same row.
--
-- non_replicated_deduplication_window: without it a server that is not replicated ignores insert_deduplication_token,
-- and an insert repeated after a broken connection would be there twice until the next merge.
CREATE TABLE IF NOT EXISTS {table}
(
    execution_id     UUID,
    agent_name       LowCardinality(String),
    user_id          Nullable(String),
    metric_type      LowCardinality(String),
    metric_value     Float64,
    completed_at     DateTime64(3, 'UTC')   COMMENT 'of the event, or else the timestamp of its Kafka record',
    recorded_at      DateTime64(3, 'UTC')   COMMENT 'timestamp of the Kafka record; the version of the row',
    source_topic     LowCardinality(String) COMMENT 'with partition and offset: the Kafka record of the event',
    source_partition Int32,
    source_offset    Int64,
    ingested_at      DateTime64(3, 'UTC')   DEFAULT now64(3) COMMENT 'when ClickHouse took the row'
)
ENGINE = ReplacingMergeTree(recorded_at)
PARTITION BY toYYYYMM(completed_at)
ORDER BY (metric_type, agent_name, toDate32(completed_at), execution_id)
SETTINGS non_replicated_deduplication_window = 10000;

-- What people query: each metric of each execution once, whether the duplicates are merged yet or not.
CREATE VIEW IF NOT EXISTS {table}_deduplicated AS
SELECT * FROM {table} FINAL;

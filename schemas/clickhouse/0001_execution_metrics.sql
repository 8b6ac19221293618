-- One row per execution and metric. {table} is the value of CLICKHOUSE_TABLE.

-- ReplacingMergeTree(recorded_at): of several rows with the same sort key, the row with the latest Kafka record is kept. So
-- a redelivery changes nothing, and the replay of an old dead letter never replaces a newer event.
--
-- The sort key serves queries for one metric, one agent and a range of days. It contains the day, not the instant: if a
-- producer sends an event twice without `completed_at`, the two rows have different instants but must have the same key.
--
-- non_replicated_deduplication_window: without it a non-replicated table ignores insert_deduplication_token, and an insert
-- that is retried after a broken connection would store its rows twice until the next merge.
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

-- The view for queries: each metric of each execution once, even before ClickHouse has merged duplicates.
CREATE VIEW IF NOT EXISTS {table}_deduplicated AS
SELECT * FROM {table} FINAL;

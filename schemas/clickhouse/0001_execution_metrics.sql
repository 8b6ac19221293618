-- One row per execution and metric. {table} is the value of CLICKHOUSE_TABLE.

-- ReplacingMergeTree(version): of several rows with the same sort key, the row with the latest Kafka record is kept. So a
-- redelivery changes nothing, and the replay of an old dead letter never replaces a newer event.
--
-- The timestamp alone is not enough: a correction can be in the same millisecond as what it corrects, and with
-- message.timestamp.type=LogAppendTime all records of a batch have one timestamp. Of equal versions ClickHouse would keep
-- the row that it took last, which can be a replay of the older one. So the version is the timestamp, then the offset. Both
-- have 64 bits, so that no offset is too large; with fewer, some neighbouring offsets would change places. Before 1970, or
-- without a timestamp (-1), the timestamp counts as 0.
--
-- An offset orders the records of one partition only. All events of an execution have its id as their key, so they are in
-- one partition. Of records in two partitions or topics the later timestamp wins, within one millisecond the higher offset,
-- and if both are equal, the row that ClickHouse took last.
--
-- recorded_at and source_offset are computed from the version when they are read. Stored beside it they would take 5.4 bytes a
-- row more (schemas/clickhouse/README.md, "The version of a row").
--
-- The sort key serves queries for one metric, one agent and a range of days. It contains the day, not the instant: if a
-- producer sends an event twice without `completed_at`, the two rows have different instants but must have the same key.
--
-- non_replicated_deduplication_window: without it a non-replicated table ignores insert_deduplication_token, and an insert
-- that is retried after a broken connection would store its rows twice until the next merge.
CREATE TABLE IF NOT EXISTS {table}
(
    execution_id     String                 COMMENT 'a UUID in lower case with hyphens, or any other text as it was sent',
    agent_name       LowCardinality(String),
    user_id          Nullable(String),
    labels           Map(LowCardinality(String), LowCardinality(String))
                                            COMMENT 'texts to group and filter by, sorted by name; each row of an event has the same',
    metric_type      LowCardinality(String),
    metric_value     Float64,
    completed_at     DateTime64(3, 'UTC')   COMMENT 'of the event, or else the timestamp of its Kafka record',
    version          UInt128                COMMENT 'timestamp of the Kafka record (upper 64 bits), then its offset',
    recorded_at      DateTime64(3, 'UTC')   ALIAS fromUnixTimestamp64Milli(toInt64(bitShiftRight(version, 64)), 'UTC')
                                            COMMENT 'timestamp of the Kafka record',
    source_topic     LowCardinality(String) COMMENT 'with partition and offset: the Kafka record of the event',
    source_partition Int32,
    source_offset    Int64                  ALIAS toInt64(bitAnd(version, 0x7FFFFFFFFFFFFFFF)),
    ingested_at      DateTime64(3, 'UTC')   DEFAULT now64(3) COMMENT 'when ClickHouse took the row'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(completed_at)
ORDER BY (metric_type, agent_name, toDate32(completed_at), execution_id)
SETTINGS non_replicated_deduplication_window = 10000;

-- The view for queries: each metric of each execution once, even before ClickHouse has merged duplicates. `*` does not
-- include columns that are computed.
CREATE VIEW IF NOT EXISTS {table}_deduplicated AS
SELECT *, recorded_at, source_offset FROM {table} FINAL;

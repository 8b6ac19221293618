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
-- recorded_at and source_offset are computed from the version when they are read.
--
-- The identity of a row is execution, agent, metric and the UTC day of completed_at: ReplacingMergeTree keeps one row for each
-- sort key. The day, not the instant: if a producer sends an event twice without `completed_at`, the two rows have different
-- instants but must have the same key.
--
-- The partition is the month of `day`, not of `completed_at`. ClickHouse keeps the least and the greatest value of the columns
-- of the partition key for each part, and skips parts that a bound in a query excludes, before FINAL chooses between versions.
-- With `completed_at` there, a bound between two versions of one day could skip the part of the newer one, and the older one
-- would be shown. All versions of a row have one `day`. A bound of `completed_at` is still cheap, because the sort key begins
-- with its day.
--
-- The sort key has the day first, then the metric. One metric over a range of days is read without the other metrics. And the
-- executions of a day come in the same order for each of its metrics, so that their ids, users, labels, times and versions
-- repeat, and ZSTD stores them about once instead of once for each metric. That needs blocks which are larger than a metric of a
-- day: hence the sizes of blocks, in bytes, and the window of 2^24 bytes (schemas/clickhouse/README.md, "Order and storage").
-- What repeats least, value and metric, keeps the small blocks of ClickHouse, which are cheaper to read.
--
-- by_execution finds the rows of an execution: one granule for each of its metrics, and half a percent of all others.
--
-- by_user is read by {table}_user_days only. It has each user, day and agent once for each part, sorted by user; it is not
-- de-duplicated. `rebuild`: after a merge or a deletion ClickHouse computes it again from the rows that stay.
--
-- non_replicated_deduplication_window: without it a non-replicated table ignores insert_deduplication_token, and an insert
-- that is retried after a broken connection would store its rows twice until the next merge.
CREATE TABLE IF NOT EXISTS {table}
(
    execution_id     String                 COMMENT 'a UUID with its hyphens in lower case, or any other text as it was sent'
                                            CODEC(ZSTD(1, 24))
                                            SETTINGS (min_compress_block_size = 2097152, max_compress_block_size = 4194304),
    agent_name       LowCardinality(String),
    user_id          Nullable(String)       CODEC(ZSTD(1, 24)),
    labels           Map(LowCardinality(String), LowCardinality(String))
                                            COMMENT 'texts to group and filter by, sorted by name; each row of an event has the same'
                                            CODEC(ZSTD(1, 24)),
    metric_type      LowCardinality(String),
    metric_value     Float64                CODEC(ZSTD(1))
                                            SETTINGS (min_compress_block_size = 16384, max_compress_block_size = 65536),
    completed_at     DateTime64(3, 'UTC')   COMMENT 'of the event, or else the timestamp of its Kafka record'
                                            CODEC(ZSTD(1, 24)),
    version          UInt128                COMMENT 'timestamp of the Kafka record (upper 64 bits), then its offset'
                                            CODEC(ZSTD(1, 24))
                                            SETTINGS (min_compress_block_size = 2097152, max_compress_block_size = 4194304),
    recorded_at      DateTime64(3, 'UTC')   ALIAS fromUnixTimestamp64Milli(toInt64(bitShiftRight(version, 64)), 'UTC')
                                            COMMENT 'timestamp of the Kafka record',
    source_topic     LowCardinality(String) COMMENT 'with partition and offset: the Kafka record of the event',
    source_partition Int32                  CODEC(ZSTD(1, 24)),
    source_offset    Int64                  ALIAS toInt64(bitAnd(version, 0x7FFFFFFFFFFFFFFF)),
    ingested_at      DateTime64(3, 'UTC')   DEFAULT now64(3) COMMENT 'when ClickHouse took the row' CODEC(ZSTD(1, 24)),
    day              Date32                 MATERIALIZED toDate32(completed_at) COMMENT 'of completed_at in UTC, for the partition',
    INDEX by_execution execution_id TYPE bloom_filter(0.005) GRANULARITY 1,
    PROJECTION by_user (SELECT user_id, day, agent_name GROUP BY user_id, day, agent_name)
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(day)
ORDER BY (toDate32(completed_at), metric_type, agent_name, execution_id)
SETTINGS non_replicated_deduplication_window = 10000,
         index_granularity = 1024,
         min_compress_block_size = 524288,
         max_compress_block_size = 1048576,
         deduplicate_merge_projection_mode = 'rebuild',
         lightweight_mutation_projection_mode = 'rebuild';

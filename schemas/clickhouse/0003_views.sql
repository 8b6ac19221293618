-- Views for analysts. All of them read de-duplicated rows, so redeliveries and replays do not distort them, and late events
-- are included. schemas/QUERIES.md has the cost of each.

-- The same view, but cheaper: the sort key includes the day, so rows with the same key are in the same partition (month),
-- and FINAL need not merge across partitions. Measured on 10 million merged rows: it reads a fifth of the bytes.
CREATE OR REPLACE VIEW {table}_deduplicated AS
SELECT *, recorded_at, source_offset FROM {table} FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- Per minute, computed by each query, so always current; a range of days reads only those days. A stored roll-up would be
-- larger than the rows themselves for any agent that runs less than once a minute. The interval is in milliseconds because
-- only then ClickHouse returns DateTime64, which years after 2106 need.
CREATE OR REPLACE VIEW {table}_per_minute AS
SELECT
    metric_type,
    agent_name,
    toDate32(completed_at) AS day,
    toStartOfInterval(completed_at, INTERVAL 60000 MILLISECOND) AS minute,
    count() AS executions,
    sum(metric_value) AS total,
    min(metric_value) AS least,
    max(metric_value) AS most,
    quantileExact(0.5)(metric_value) AS p50,
    quantileExact(0.9)(metric_value) AS p90,
    quantileExact(0.95)(metric_value) AS p95,
    quantileExact(0.99)(metric_value) AS p99
FROM {table}_deduplicated
GROUP BY metric_type, agent_name, day, minute;

-- Per day, stored. quantilesBFloat16 counts values rounded to 8 significant bits: the result does not depend on the order of
-- rows or merges, is within 1 % of an actual value, and no value causes an error.
CREATE TABLE IF NOT EXISTS {table}_per_day_states
(
    metric_type  LowCardinality(String),
    agent_name   LowCardinality(String),
    day          Date32,
    executions   UInt64,
    total        Float64,
    least        Float64,
    most         Float64,
    quantiles    AggregateFunction(quantilesBFloat16(0.5, 0.9, 0.95, 0.99), Float64),
    refreshed_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (metric_type, agent_name, day);

-- Every hour ClickHouse computes the whole table again from de-duplicated rows and replaces the old one atomically. An
-- incremental view could count repeated rows twice or miss late ones.
CREATE MATERIALIZED VIEW IF NOT EXISTS {table}_per_day_refresh
REFRESH EVERY 1 HOUR TO {table}_per_day_states AS
SELECT
    metric_type,
    agent_name,
    toDate32(completed_at) AS day,
    count() AS executions,
    sum(metric_value) AS total,
    min(metric_value) AS least,
    max(metric_value) AS most,
    quantilesBFloat16State(0.5, 0.9, 0.95, 0.99)(metric_value) AS quantiles,
    now64(3, 'UTC') AS refreshed_at
FROM {table} FINAL
GROUP BY metric_type, agent_name, day
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- One row per metric, agent and day; on a cluster this merges the states of all shards.
CREATE OR REPLACE VIEW {table}_per_day AS
SELECT
    metric_type,
    agent_name,
    day,
    sum(executions) AS executions,
    sum(total) AS total,
    min(least) AS least,
    max(most) AS most,
    quantilesBFloat16Merge(0.5, 0.9, 0.95, 0.99)(quantiles)[1] AS p50,
    quantilesBFloat16Merge(0.5, 0.9, 0.95, 0.99)(quantiles)[2] AS p90,
    quantilesBFloat16Merge(0.5, 0.9, 0.95, 0.99)(quantiles)[3] AS p95,
    quantilesBFloat16Merge(0.5, 0.9, 0.95, 0.99)(quantiles)[4] AS p99,
    min(refreshed_at) AS refreshed_at
FROM {table}_per_day_states
GROUP BY metric_type, agent_name, day;

-- Success rate of agents. Executions without the metric `result_success` are not counted.
CREATE OR REPLACE VIEW {table}_success_per_day AS
SELECT
    agent_name,
    toDate32(completed_at) AS day,
    count() AS executions,
    countIf(metric_value != 0) AS succeeded,
    countIf(metric_value = 0) AS failed,
    succeeded / executions AS success_rate
FROM {table}_deduplicated
WHERE metric_type = 'result_success'
GROUP BY agent_name, day;

-- One row per execution: the common metrics as columns, all metrics in the map `metrics`.
CREATE OR REPLACE VIEW {table}_executions AS
SELECT
    execution_id,
    agent_name,
    toDate32(row.completed_at) AS day,
    argMax(tuple(row.user_id), row.version).1 AS user_id,
    argMax(row.completed_at, row.version) AS completed_at,
    CAST((groupArray(metric_type), groupArray(metric_value)), 'Map(String, Float64)') AS metrics,
    maxOrNullIf(metric_value, metric_type = 'result_success') AS result_success,
    maxOrNullIf(metric_value, metric_type = 'execution_time_ms') AS execution_time_ms,
    maxOrNullIf(metric_value, metric_type = 'memory_usage_mb') AS memory_usage_mb,
    maxOrNullIf(metric_value, metric_type = 'cpu_percent') AS cpu_percent,
    maxOrNullIf(metric_value, metric_type = 'input_tokens') AS input_tokens,
    maxOrNullIf(metric_value, metric_type = 'output_tokens') AS output_tokens,
    maxOrNullIf(metric_value, metric_type = 'cost_usd') AS cost_usd
FROM {table}_deduplicated AS row
GROUP BY execution_id, agent_name, day;

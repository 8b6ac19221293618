-- Views for analysts. All of them read de-duplicated rows, so redeliveries and replays do not distort them, and late events
-- are included. schemas/QUERIES.md has the cost of each.

-- Each metric of each execution once. Rows with the same sort key have the same day, so they are in the same partition, and
-- FINAL need not merge across partitions. Servers before 25.6 use no index with FINAL unless they are told to; by_execution may
-- be used, because all versions of a row have the same execution_id. `*` includes no column that is computed: `day` is written
-- so that a condition on it uses the sort key.
CREATE OR REPLACE VIEW {table}_deduplicated AS
SELECT *, toDate32(completed_at) AS day, recorded_at, source_offset FROM {table} FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1, use_skip_indexes_if_final = 1;

-- The days and agents of a user's executions, to look up in {table}_deduplicated. Not de-duplicated: a day is here also if a
-- correction has given the execution to another user since. So a query also compares `user_id`.
CREATE OR REPLACE VIEW {table}_user_days AS
SELECT user_id, day, agent_name FROM {table} GROUP BY user_id, day, agent_name;

-- Per minute, computed by each query, so always current; a range of days reads only those days. A stored roll-up would be
-- larger than the rows themselves for any agent that runs less than once a minute. The interval is in milliseconds because
-- only then ClickHouse returns DateTime64, which years after 2106 need.
CREATE OR REPLACE VIEW {table}_per_minute AS
SELECT
    metric_type,
    agent_name,
    day,
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
-- incremental view could count repeated rows twice or miss late ones. All rows of one refresh have one refreshed_at.
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

-- One row per metric, agent and day; on a cluster this merges the states of all shards. Days that the last refresh may not have
-- seen in full are computed from the rows: the day before that refresh and later ones, or all days while there was none. So the
-- result has all days also while refreshes fail; what they add is what arrives late for earlier days.
CREATE OR REPLACE VIEW {table}_per_day AS
WITH (
    SELECT if(count() = 0, toDate32('1900-01-01'), toDate32(min(refreshed_at)) - 1) FROM {table}_per_day_states
) AS first_day_of_rows
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
WHERE day < first_day_of_rows
GROUP BY metric_type, agent_name, day
UNION ALL
SELECT
    metric_type,
    agent_name,
    day,
    count() AS executions,
    sum(metric_value) AS total,
    min(metric_value) AS least,
    max(metric_value) AS most,
    quantileBFloat16(0.5)(metric_value) AS p50,
    quantileBFloat16(0.9)(metric_value) AS p90,
    quantileBFloat16(0.95)(metric_value) AS p95,
    quantileBFloat16(0.99)(metric_value) AS p99,
    now64(3, 'UTC') AS refreshed_at
FROM {table}_deduplicated
WHERE day >= first_day_of_rows
GROUP BY metric_type, agent_name, day;

-- Success rate of agents. Executions without the metric `result_success` are not counted.
CREATE OR REPLACE VIEW {table}_success_per_day AS
SELECT
    agent_name,
    day,
    count() AS executions,
    countIf(metric_value != 0) AS succeeded,
    countIf(metric_value = 0) AS failed,
    succeeded / executions AS success_rate
FROM {table}_deduplicated
WHERE metric_type = 'result_success'
GROUP BY agent_name, day;

-- One row per execution: everything is of its latest event, the common metrics as columns, all in the map `metrics`. So user,
-- time and cost belong together, and a correction without a metric removes it here. What only earlier events of the execution
-- have is in `earlier_metrics`. Topic and partition are compared too, because offsets order the records of one partition only.
CREATE OR REPLACE VIEW {table}_executions AS
WITH
    (row.version, row.source_topic, row.source_partition) AS record,
    groupArray((metric_type, metric_value, record)) AS found
SELECT
    execution_id,
    agent_name,
    day,
    argMax(tuple(row.user_id), record).1 AS user_id,
    argMax(row.completed_at, record) AS completed_at,
    argMax(row.labels, record) AS labels,
    CAST(arrayMap(x -> (x.1, x.2), arrayFilter(x -> x.3 = max(record), found)), 'Map(String, Float64)') AS metrics,
    CAST(arrayMap(x -> (x.1, x.2), arrayFilter(x -> x.3 < max(record), found)), 'Map(String, Float64)') AS earlier_metrics,
    if(mapContains(metrics, 'result_success'), metrics['result_success'], NULL) AS result_success,
    if(mapContains(metrics, 'execution_time_ms'), metrics['execution_time_ms'], NULL) AS execution_time_ms,
    if(mapContains(metrics, 'memory_usage_mb'), metrics['memory_usage_mb'], NULL) AS memory_usage_mb,
    if(mapContains(metrics, 'cpu_percent'), metrics['cpu_percent'], NULL) AS cpu_percent,
    if(mapContains(metrics, 'input_tokens'), metrics['input_tokens'], NULL) AS input_tokens,
    if(mapContains(metrics, 'output_tokens'), metrics['output_tokens'], NULL) AS output_tokens,
    if(mapContains(metrics, 'cost_usd'), metrics['cost_usd'], NULL) AS cost_usd
FROM {table}_deduplicated AS row
GROUP BY execution_id, agent_name, day;

-- Four roles, each with only the rights that it needs. An administrator runs this file once with clickhouse-client, before
-- the first `metrics-worker migrate`. The names are those of CLICKHOUSE_DATABASE (metrics) and CLICKHOUSE_TABLE
-- (execution_metrics). Give the tables their own database: the migrator has full rights on all of it.
--
-- What was tested: the engine of the tests has no users, so a test only parses these statements; nothing enforces them.
-- That the rights are sufficient follows from ClickHouse's sources and issues, cited where it is not obvious. Try `migrate`,
-- the worker and a refresh on a server of your version before you rely on them:
--   SYSTEM REFRESH VIEW metrics.execution_metrics_per_day_refresh;
--   SYSTEM WAIT VIEW metrics.execution_metrics_per_day_refresh      -- an error here names the missing right
--
-- Reading system.tables and system.columns needs no right; each user sees there the objects on which he has a right.

-- The worker, `metrics-worker replay` and `check`, and the console, whose user is metrics_console: they insert rows, and test the table with an empty insert. They read no
-- table. If a constraint rejects a block, a SELECT over rows sent with the query (an external table) finds the violating
-- rows. It needs no right (ContextAccess.cpp: other grants are considered as always given), unless the constraint itself
-- reads a dictionary or another table.
CREATE ROLE IF NOT EXISTS metrics_worker;
GRANT INSERT ON metrics.execution_metrics TO metrics_worker;
-- To see whether the refresh of the roll-up fails, for the alert MetricsWorkerRollUpFailing; without them it cannot fire.
GRANT SHOW TABLES ON metrics.execution_metrics_per_day_refresh TO metrics_worker;
GRANT SELECT ON system.view_refreshes TO metrics_worker;
-- Optional, for the preview of `metrics-worker replay --edit`: a temporary table with the engine Null and the constraints of
-- the table says which rows would violate them; without it the preview says that they are not known.
-- GRANT CREATE ARBITRARY TEMPORARY TABLE ON *.* TO metrics_worker;

-- `metrics-worker migrate`: creates and alters tables and views and records the applied migrations. ClickHouse requires
-- more rights than that:
--   - The refreshable view of the days runs as its definer, the user of the migration. At its creation and before every
--     refresh ClickHouse requires SELECT, INSERT, CREATE TABLE and DROP TABLE on the whole database, because it fills a
--     table `.tmp.inner_id…`, exchanges it for the old one and drops that (StorageMaterializedView.cpp, `prepareRefresh`;
--     https://github.com/ClickHouse/ClickHouse/issues/80686). Without them `migrate` fails with ACCESS_DENIED.
--   - CREATE OR REPLACE VIEW creates the view under the name `_tmp_replace_…`, which requires the same four rights
--     (https://github.com/ClickHouse/ClickHouse/issues/90919; no longer since pull request 117967, September 2026).
-- So the migrator's password is enough to empty the tables: only the migration Job mounts it.
CREATE ROLE IF NOT EXISTS metrics_migrator;
GRANT SELECT, INSERT, CREATE TABLE, DROP TABLE ON metrics.* TO metrics_migrator;
GRANT ALTER TABLE, CREATE VIEW, ALTER VIEW, DROP VIEW ON metrics.* TO metrics_migrator;

-- Analysts: the views and the tables under them, because a plain view in ClickHouse reads with the rights of its caller
-- (SQL SECURITY INVOKER, https://clickhouse.com/docs/sql-reference/statements/create/view#sql_security).
CREATE ROLE IF NOT EXISTS metrics_reader;
GRANT SELECT ON metrics.execution_metrics TO metrics_reader;
GRANT SELECT ON metrics.execution_metrics_deduplicated TO metrics_reader;
GRANT SELECT ON metrics.execution_metrics_user_days TO metrics_reader;
GRANT SELECT ON metrics.execution_metrics_per_minute TO metrics_reader;
GRANT SELECT ON metrics.execution_metrics_per_day_states TO metrics_reader;
GRANT SELECT ON metrics.execution_metrics_per_day TO metrics_reader;
GRANT SELECT ON metrics.execution_metrics_success_per_day TO metrics_reader;
GRANT SELECT ON metrics.execution_metrics_executions TO metrics_reader;

-- `metrics-worker audit`: reads the de-duplicated view and the table under it, and writes nothing. metrics_reader is
-- sufficient too; metrics_worker is not.
CREATE ROLE IF NOT EXISTS metrics_auditor;
GRANT SELECT ON metrics.execution_metrics TO metrics_auditor;
GRANT SELECT ON metrics.execution_metrics_deduplicated TO metrics_auditor;

-- On a cluster, add ON CLUSTER '<name>' to each CREATE and GRANT, so that every server has them, and
-- (https://clickhouse.com/docs/sql-reference/statements/grant#cluster):
-- GRANT CLUSTER, REMOTE ON *.* TO metrics_migrator;                              -- REMOTE: to create Distributed tables
-- GRANT SYSTEM SYNC REPLICA ON metrics.execution_metrics_migrations TO metrics_migrator;
-- GRANT SHOW TABLES ON metrics.execution_metrics_per_day_refresh_local TO metrics_worker;
-- For a Distributed table, the other servers see the user in `remote_servers`, or the original user if a `secret` is set
-- there. That user needs the same right on the local table:
-- GRANT INSERT ON metrics.execution_metrics_local TO metrics_worker;
-- GRANT SELECT ON metrics.execution_metrics_local TO metrics_reader, metrics_auditor;
-- GRANT SELECT ON metrics.execution_metrics_per_day_states_local TO metrics_reader;

-- Users, each with one of the roles. The hash is of the password in CLICKHOUSE_PASSWORD_FILE, without a final line break:
--   printf %s "$PASSWORD" | sha256sum
-- CREATE USER metrics_worker IDENTIFIED WITH sha256_hash BY '<hash>' DEFAULT ROLE metrics_worker;
-- With client certificates instead: IDENTIFIED WITH ssl_certificate CN 'metrics-worker'

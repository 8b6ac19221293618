-- Who may do what: four roles, each with what it needs and nothing else. To be run once by an administrator, before the
-- first `metrics-worker migrate`, with clickhouse-client. The names are those of CLICKHOUSE_DATABASE (metrics) and
-- CLICKHOUSE_TABLE (execution_metrics). Give the tables a database of their own: the migrator rules all of it.
--
-- What was checked: the engine that the tests run on has no users, so that a test parses these statements and nothing
-- enforces them. That they are enough comes from ClickHouse's sources and threads, named where it is not obvious. Try
-- `migrate`, the worker and a refresh on a server of your version before you rely on them:
--   SYSTEM REFRESH VIEW metrics.execution_metrics_per_day_refresh;
--   SYSTEM WAIT VIEW metrics.execution_metrics_per_day_refresh      -- an error here is what the refresh lacks
--
-- Reading system.tables and system.columns needs no right; everybody sees there what he has any right on.

-- The worker, and `metrics-worker replay` and `check`: it inserts rows, and asks by inserting none. It reads nothing.
-- When a constraint has refused a block, it asks which rows violate it: a SELECT over rows that it sends along (an external
-- table), which needs no right (ContextAccess.cpp: other grants are considered as always given), unless the constraint
-- itself reads a dictionary or another table.
CREATE ROLE IF NOT EXISTS metrics_worker;
GRANT INSERT ON metrics.execution_metrics TO metrics_worker;

-- `metrics-worker migrate`: makes and alters tables and views, keeps a ledger of what was applied, and of itself drops
-- nothing but the tables that are its own locks. What it may is more, and only because ClickHouse asks for it:
--   - The view that refreshes the days runs as its definer, who is whoever migrated. At its creation and before every
--     refresh ClickHouse wants SELECT, INSERT, CREATE TABLE and DROP TABLE of him on the whole database, because it fills
--     a table `.tmp.inner_id…`, exchanges it for the old one and drops that (StorageMaterializedView.cpp, `prepareRefresh`;
--     https://github.com/ClickHouse/ClickHouse/issues/80686). With less `migrate` fails with ACCESS_DENIED.
--   - CREATE OR REPLACE VIEW builds the view under the name `_tmp_replace_…`, and wants the same four there
--     (https://github.com/ClickHouse/ClickHouse/issues/90919; not any more since pull request 117967, September 2026).
-- So whoever has the migrator's password can empty the tables: only the Job of the migration mounts it.
CREATE ROLE IF NOT EXISTS metrics_migrator;
GRANT SELECT, INSERT, CREATE TABLE, DROP TABLE ON metrics.* TO metrics_migrator;
GRANT ALTER TABLE, CREATE VIEW, ALTER VIEW, DROP VIEW ON metrics.* TO metrics_migrator;

-- Analysts: the views, and the tables under them, because a plain view of ClickHouse reads with the rights of who asks
-- (SQL SECURITY INVOKER, https://clickhouse.com/docs/sql-reference/statements/create/view#sql_security).
CREATE ROLE IF NOT EXISTS metrics_reader;
GRANT SELECT ON metrics.execution_metrics TO metrics_reader;
GRANT SELECT ON metrics.execution_metrics_deduplicated TO metrics_reader;
GRANT SELECT ON metrics.execution_metrics_per_minute TO metrics_reader;
GRANT SELECT ON metrics.execution_metrics_per_day_states TO metrics_reader;
GRANT SELECT ON metrics.execution_metrics_per_day TO metrics_reader;
GRANT SELECT ON metrics.execution_metrics_success_per_day TO metrics_reader;
GRANT SELECT ON metrics.execution_metrics_executions TO metrics_reader;

-- `metrics-worker audit`: reads the de-duplicated view, and the table under it. It writes nothing; metrics_reader will do
-- as well, and metrics_worker will not.
CREATE ROLE IF NOT EXISTS metrics_auditor;
GRANT SELECT ON metrics.execution_metrics TO metrics_auditor;
GRANT SELECT ON metrics.execution_metrics_deduplicated TO metrics_auditor;

-- On a cluster add ON CLUSTER '<name>' to each CREATE and GRANT, so that every server knows them, and
-- (https://clickhouse.com/docs/sql-reference/statements/grant#cluster):
-- GRANT CLUSTER, REMOTE ON *.* TO metrics_migrator;                              -- REMOTE: it makes Distributed tables
-- GRANT SYSTEM SYNC REPLICA ON metrics.execution_metrics_migrations TO metrics_migrator;
-- Behind a Distributed table the other servers see the user of `remote_servers`, or with a `secret` there the one who
-- asked, and he needs the same right on the table that is stored:
-- GRANT INSERT ON metrics.execution_metrics_local TO metrics_worker;
-- GRANT SELECT ON metrics.execution_metrics_local TO metrics_reader, metrics_auditor;
-- GRANT SELECT ON metrics.execution_metrics_per_day_states_local TO metrics_reader;

-- Users, each with one of the roles. The hash is of the password that CLICKHOUSE_PASSWORD_FILE holds, without a line
-- break at its end:
--   printf %s "$PASSWORD" | sha256sum
-- CREATE USER metrics_worker IDENTIFIED WITH sha256_hash BY '<hash>' DEFAULT ROLE metrics_worker;
-- With client certificates instead: IDENTIFIED WITH ssl_certificate CN 'metrics-worker'

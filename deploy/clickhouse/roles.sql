-- Who may do what: four roles, each with what it needs and nothing else. To be run once by an administrator, before the
-- first `metrics-worker migrate`, with clickhouse-client. On a cluster add ON CLUSTER '<name>' to each CREATE and GRANT.
-- The names are those of CLICKHOUSE_DATABASE (metrics) and CLICKHOUSE_TABLE (execution_metrics).

-- The worker, and `metrics-worker replay` and `check`: it inserts rows, and asks by inserting none. It reads nothing.
CREATE ROLE IF NOT EXISTS metrics_worker;
GRANT INSERT ON metrics.execution_metrics TO metrics_worker;

-- `metrics-worker migrate`: makes and alters tables and views, keeps a ledger of what was applied, and drops nothing but the
-- tables that are its own locks. To make a view it must be allowed to read what the view reads; the view that refreshes
-- the days does so with the rights of who made it, and so writes them too.
CREATE ROLE IF NOT EXISTS metrics_migrator;
GRANT CREATE TABLE, CREATE VIEW, ALTER TABLE, ALTER VIEW, DROP VIEW ON metrics.* TO metrics_migrator;
GRANT DROP TABLE ON metrics.execution_metrics_migrations_lock_* TO metrics_migrator;
GRANT SELECT, INSERT ON metrics.execution_metrics_migrations TO metrics_migrator;
GRANT SELECT ON metrics.execution_metrics TO metrics_migrator;
GRANT SELECT ON metrics.execution_metrics_deduplicated TO metrics_migrator;
GRANT SELECT, INSERT ON metrics.execution_metrics_per_day_states TO metrics_migrator;

-- Analysts: the views, and the tables under them, because a view of ClickHouse reads with the rights of who asks.
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

-- Users, each with one of the roles. The hash is of the password that CLICKHOUSE_PASSWORD_FILE holds:
--   printf %s "$PASSWORD" | sha256sum
-- CREATE USER metrics_worker IDENTIFIED WITH sha256_hash BY '<hash>' DEFAULT ROLE metrics_worker;
-- With client certificates instead: IDENTIFIED WITH ssl_certificate CN 'metrics-worker'

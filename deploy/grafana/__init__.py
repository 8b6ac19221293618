"""The Grafana dashboards, generated: of the workers for operators, of the executions for analysts."""

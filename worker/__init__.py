"""Agent-execution metrics from Kafka into ClickHouse, without losing one."""

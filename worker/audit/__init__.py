"""Reconciles Kafka with ClickHouse: finds each metric of a range of records, or reports it. Writes nothing."""

"""Reconciling Kafka with ClickHouse: what became of each metric of a range of records. Writes nothing anywhere."""

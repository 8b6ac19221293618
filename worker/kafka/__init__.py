"""Everything that speaks to Kafka: the inbox, the dead-letter topic, its backlog, and what aiokafka does not have."""

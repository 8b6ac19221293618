"""Kafka adapters: the event source, the dead-letter sink and reader, and what aiokafka does not provide."""

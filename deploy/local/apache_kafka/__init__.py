"""A real Apache Kafka on loopback: its jars from Maven Central, one node, its data in a folder."""

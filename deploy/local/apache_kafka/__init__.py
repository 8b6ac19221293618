"""Apache Kafka on loopback: jars from Maven Central, one node, its data in a folder."""

"""The adapters to ClickHouse: INSERTs, the classes of its errors, the check of the table, and migrations."""

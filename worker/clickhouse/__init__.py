"""The adapters to ClickHouse: INSERTs, the classes of its errors, the check of the table, and migrations."""

import os

# Otherwise the driver computes each date of four centuries when it is imported: a seventh of the start of a command,
# and 23 MB. The name is the driver's.
os.environ.setdefault("CLICKHOUSE_DRIVER_LASY_DATE_LUT", "1")

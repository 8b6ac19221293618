"""Everything that speaks to ClickHouse: inserts, what its errors mean, and the migrations."""

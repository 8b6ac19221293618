"""Engines that the tests cannot run; `tests/contract/test_table_check.py` has those that they can."""

import pytest

from worker.clickhouse.table_check import StoredTable, _storage_differences

SORTING_KEY = "toDate32(completed_at), metric_type, agent_name, execution_id"


@pytest.mark.parametrize(
    ("engine", "settings", "differs"),
    [
        # https://clickhouse.com/docs/cloud/reference/shared-merge-tree#enabling-sharedmergetree
        ("SharedReplacingMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}', version)", "", False),
        ("SharedReplacingMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}')", "", True),
        (
            "SharedReplacingMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}', version)",
            ", non_replicated_deduplication_window = 10000",
            False,
        ),
        (
            "SharedReplacingMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}', version)",
            ", replicated_deduplication_window = 0",
            True,
        ),
    ],
)
def test_table_of_clickhouse_cloud_fits_if_it_keeps_versions_and_tokens(
    engine: str, settings: str, differs: bool
) -> None:
    full = f"{engine} PARTITION BY toYYYYMM(day) ORDER BY ({SORTING_KEY}) SETTINGS index_granularity = 8192{settings}"
    table = StoredTable("metrics", "execution_metrics", engine.partition("(")[0], full, SORTING_KEY, "toYYYYMM(day)")
    assert bool([*_storage_differences(table)]) == differs

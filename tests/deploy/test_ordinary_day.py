"""An ordinary day, evaluated by promtool: no alert fires, although much happens."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.checks import debian, rules
from tests.deploy.ordinary_day import DAY, HOUR, STEP, WORKERS, Day, record_day
from tests.deploy.scraping import WATCHDOG
from tests.deploy.series import names_in_rules

pytestmark = pytest.mark.timeout(400)  # some ten seconds of CPU: promtool evaluates every rule 1,440 times
FIRED = f'group by (alertname) (last_over_time(ALERTS{{alertstate="firing", alertname!="{WATCHDOG}"}}[1d]))'
QUERIES = {
    "count(changes(metrics_worker_holding[1d]) > 0) == bool 3": "each worker held once",
    f'count(count by (instance) (last_over_time(up{{job="metrics-worker"}}[1d]))) == bool {2 * WORKERS}': "a deploy",
    "max(max_over_time(metrics_worker_lag_records[1d])) == bool 5000": "lag",
    f"sum(increase(metrics_worker_dead_letters_total[1d])) > bool {DAY // STEP * 9 // 10}": "NaN all the time",
    "sum(increase(metrics_worker_dead_letters_total[15m] offset 8h)) > bool 10": "NaN at night",
    "sum(increase(metrics_worker_metrics_total[15m] offset 8h)) < bool 200": "a quiet night",
    "min(min_over_time(metrics_worker_retained_records[1d])) == bool 0": "retention has emptied the topic",
    "min(min_over_time(kube_statefulset_status_replicas_ready[1d])) == bool 0": "no worker ready for a moment",
    f'count_over_time(ALERTS{{alertname="{WATCHDOG}"}}[1d]) >= bool {DAY // STEP}': "the rules are evaluated",
}
"""Queries that answer 1, so that the day is what it says."""


@pytest.fixture(scope="module")
def promtool() -> Path:
    return debian.ensure_prometheus()[1]


def run_promtool(promtool: Path, folder: Path, day: Day, expected: list[str], queries: list[str]) -> str:
    """Return what promtool reports when the day is evaluated; it is empty, or names what is not as expected."""
    end = f"{day.seconds}s"
    fired = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in expected]
    tests: list[dict[str, Any]] = [{"expr": FIRED, "eval_time": end, "exp_samples": fired}]
    one = [{"labels": "{}", "value": 1}]
    tests += [{"expr": f"max({query})", "eval_time": end, "exp_samples": one} for query in queries]
    case = {"interval": f"{STEP}s", "input_series": record_day(day).to_promtool(), "promql_expr_test": tests}
    (folder / "rules.yml").write_text(yaml.safe_dump(rules.load_rule_file()), "utf-8")
    file = {"rule_files": ["rules.yml"], "evaluation_interval": f"{STEP}s", "tests": [case]}
    (folder / "day.yml").write_text(yaml.safe_dump(file, width=1_000_000), "utf-8")
    command = (promtool, "test", "rules", folder / "day.yml")
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if finished.returncode == 0 else finished.stdout + finished.stderr


def test_ordinary_day_raises_no_alert(promtool: Path, tmp_path: Path) -> None:
    assert not run_promtool(promtool, tmp_path, Day(), [], list(QUERIES))


def test_two_hours_with_more_nan_raise_the_alert_on_dead_letters(promtool: Path, tmp_path: Path) -> None:
    assert not run_promtool(promtool, tmp_path, Day(2 * HOUR, nan_share=0.002), ["MetricsWorkerDeadLetters"], [])


def test_every_series_of_the_rules_is_in_the_day() -> None:
    assert record_day(Day()).names == names_in_rules()

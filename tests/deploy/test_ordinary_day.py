"""An ordinary day, and a quiet weekend, evaluated by promtool: no alert fires, although much happens."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.checks import debian, rules
from tests.deploy.ordinary_day import DAY, HOUR, STEP, WEEKEND, WORKERS, Day, record_day
from tests.deploy.scraping import WATCHDOG
from tests.deploy.series import names_in_rules

pytestmark = pytest.mark.timeout(400)  # some ten seconds of CPU: promtool evaluates every rule 1,440 times
DEAD_LETTERS, RECORDED = "MetricsWorkerDeadLetters", "metrics_worker:metrics_in_15m"
FIRED = f'group by (alertname) (last_over_time(ALERTS{{alertstate="firing", alertname!="{WATCHDOG}"}}[4d]))'
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
WEEKEND_QUERIES = {
    "sum(increase(metrics_worker_dead_letters_total[15m] offset 5h)) > bool 10": "NaN at the weekend",
    "sum(increase(metrics_worker_metrics_total[2d] offset 5h)) < bool 30000": "a quiet weekend",
    "sum(increase(metrics_worker_metrics_total[15m])) > bool 150000": "an ordinary Monday",
}


@pytest.fixture(scope="module")
def promtool() -> Path:
    return debian.ensure_prometheus()[1]


def rules_on_dead_letters() -> dict[str, Any]:
    """Only the alert on dead letters, and what records for it: several days of all rules take a minute."""
    (group,) = (one for one in rules.load_rule_file()["groups"] if DEAD_LETTERS in map(name_of, one["rules"]))
    return {
        "groups": [group | {"rules": [rule for rule in group["rules"] if name_of(rule) in (DEAD_LETTERS, RECORDED)]}]
    }


def name_of(rule: dict[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])


def evaluate(
    promtool: Path,
    folder: Path,
    step: int,
    series: list[dict[str, str]],
    tests: list[dict[str, Any]],
    rule_file: dict[str, Any],
) -> str:
    """Return what promtool reports of series with a sample every `step` seconds; empty if all is as expected."""
    case = {"interval": f"{step}s", "input_series": series, "promql_expr_test": tests}
    (folder / "rules.yml").write_text(yaml.safe_dump(rule_file), "utf-8")
    file = {"rule_files": ["rules.yml"], "evaluation_interval": f"{step}s", "tests": [case]}
    (folder / "test.yml").write_text(yaml.safe_dump(file, width=1_000_000), "utf-8")
    command = (promtool, "test", "rules", folder / "test.yml")
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if finished.returncode == 0 else finished.stdout + finished.stderr


def run_promtool(
    promtool: Path,
    folder: Path,
    day: Day,
    expected: list[str],
    queries: list[str],
    rule_file: dict[str, Any] | None = None,
) -> str:
    """Return what promtool reports when the day is evaluated; it is empty, or names what is not as expected."""
    end = f"{day.seconds}s"
    fired = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in expected]
    tests: list[dict[str, Any]] = [{"expr": FIRED, "eval_time": end, "exp_samples": fired}]
    one = [{"labels": "{}", "value": 1}]
    tests += [{"expr": f"max({query})", "eval_time": end, "exp_samples": one} for query in queries]
    return evaluate(promtool, folder, STEP, record_day(day).to_promtool(), tests, rule_file or rules.load_rule_file())


def test_ordinary_day_raises_no_alert(promtool: Path, tmp_path: Path) -> None:
    assert not run_promtool(promtool, tmp_path, Day(), [], list(QUERIES))


def test_monday_after_a_quiet_weekend_raises_no_alert_on_dead_letters(promtool: Path, tmp_path: Path) -> None:
    assert not run_promtool(
        promtool, tmp_path, Day(3 * DAY, quiet=WEEKEND), [], list(WEEKEND_QUERIES), rules_on_dead_letters()
    )


def test_many_agents_that_send_nan_alone_for_four_days_raise_no_alert(promtool: Path, tmp_path: Path) -> None:
    """A hundred NaN in 15 minutes, more than the least number: few beside a million metrics of others."""
    labels = '{job="metrics-worker", namespace="m", app_kubernetes_io_instance="w", error_class="invalid_metric"}'
    series = [
        {"series": f"metrics_worker_dead_letters_total{labels}", "values": "0+35x1800"},
        {"series": f"metrics_worker_metrics_total{labels}", "values": "0+350000x647 226800000+350x1151"},
    ]
    firing = 'max_over_time(ALERTS{alertname="MetricsWorkerDeadLetters"}[7d])'
    quiet = [{"labels": "{}", "value": 1}]
    tests: list[dict[str, Any]] = [
        {"expr": firing, "eval_time": "6d", "exp_samples": []},
        {"expr": "min(metrics_worker:metrics_in_15m < bool 2000)", "eval_time": "6d", "exp_samples": quiet},
    ]
    assert not evaluate(promtool, tmp_path, 5 * STEP, series, tests, rules_on_dead_letters())


def test_two_hours_with_more_nan_raise_the_alert_on_dead_letters(promtool: Path, tmp_path: Path) -> None:
    assert not run_promtool(promtool, tmp_path, Day(2 * HOUR, nan_share=0.002), [DEAD_LETTERS], [])


def test_every_series_of_the_rules_is_in_the_day() -> None:
    assert record_day(Day()).names == names_in_rules()

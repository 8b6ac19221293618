"""`python -m deploy.grafana FOLDER` writes both dashboards into a folder."""

import sys
from pathlib import Path

from deploy.grafana import analysts, dashboard

DASHBOARDS = {"metrics-worker.json": dashboard.dashboard_json, "execution-metrics.json": analysts.dashboard_json}

if __name__ == "__main__":
    for name, build in DASHBOARDS.items():
        (Path(sys.argv[1]) / name).write_text(build(), encoding="utf-8")

"""`python -m deploy.grafana FILE` writes the dashboard."""

import sys
from pathlib import Path

from deploy.grafana.dashboard import dashboard_json

Path(sys.argv[1]).write_text(dashboard_json(), encoding="utf-8")

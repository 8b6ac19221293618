"""The rendered overlays and Prometheus. These tests need what `make check-deploy` fetches; without it they fail."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.checks import debian, manifests, tools
from tests.deploy.browser import Browser
from tests.deploy.deployment import Deployment


@pytest.fixture(scope="session")
def rendered() -> dict[str, list[manifests.Manifest]]:
    """The manifests of every overlay, and of the monitoring."""
    kustomize, _ = tools.ensure_go_tools()
    return {name: manifests.parse_manifests(manifests.render(kustomize, name)) for name in manifests.BUILDS}


@pytest.fixture(scope="session")
def prometheus_program() -> Path:
    """The executable of Prometheus."""
    return debian.ensure_prometheus()[0]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, prometheus_program: Path) -> Iterator[Deployment]:
    """One for all tests of a file; each leaves it without an alert."""
    with Deployment(tmp_path_factory.mktemp("deployment"), prometheus_program) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests of a file."""
    with Browser(debian.ensure_chromium(), tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core."""
    return tools.ensure_axe().read_text("utf-8")

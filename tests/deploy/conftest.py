"""The rendered overlays and Prometheus. These tests need what `make check-deploy` fetches; without it they fail."""

from pathlib import Path

import pytest

from deploy.checks import debian, manifests, tools


@pytest.fixture(scope="session")
def rendered() -> dict[str, list[manifests.Manifest]]:
    """The manifests of every overlay."""
    kustomize, _ = tools.ensure_go_tools()
    return {overlay: manifests.parse_manifests(manifests.render(kustomize, overlay)) for overlay in manifests.OVERLAYS}


@pytest.fixture(scope="session")
def prometheus_program() -> Path:
    """The executable of Prometheus."""
    return debian.ensure_prometheus()[0]

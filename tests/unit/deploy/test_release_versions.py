"""Files that name another version than pyproject.toml prevent a release."""

import sys
from pathlib import Path

import pytest

from deploy.local.process import REPOSITORY
from deploy.release.versions import find_problems, read_version

VERSION = "1.2.3"
FILES = {
    "pyproject.toml": f'[project]\nversion = "{VERSION}"\n',
    "CHANGELOG.md": f"# Changelog\n\n## {VERSION} \N{EN DASH} 2026-02-03\n\n## 1.2.2 \N{EN DASH} 2026-01-02\n",
    "deploy/Dockerfile": f"FROM python:{sys.version_info[0]}.{sys.version_info[1]}.1-slim AS base\n"
    f'LABEL org.opencontainers.image.version="{VERSION}"\n',
    "deploy/kubernetes/overlays/staging/kustomization.yaml": f"images:\n  - name: worker\n    newTag: {VERSION}\n",
    "deploy/helm/metrics-worker/Chart.yaml": f"version: {VERSION}\nappVersion: {VERSION}\n",
}


def problems_with(folder: Path, **changes: str) -> list[str]:
    """The problems of a repository in which a file (by the beginning of its name) has another text."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        changed = [new for start, new in changes.items() if path.name.startswith(start)]
        path.write_text(changed[0] if changed else text, "utf-8")
    return list(find_problems(folder))


def test_release_in_which_all_files_name_the_version_has_no_problem(tmp_path: Path) -> None:
    assert problems_with(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("CHANGELOG", "# Changelog\n", "CHANGELOG.md begins with no section"),
        ("CHANGELOG", "## 1.2.2 \N{EN DASH} 2026-01-02\n", "CHANGELOG.md begins with the section 1.2.2"),
        (
            "CHANGELOG",
            "## 1.2.4 \N{EN DASH} 2026-01-02\n## 1.2.3 \N{EN DASH} 2026-01-02\n",
            "CHANGELOG.md begins with the section 1.2.4",
        ),
        ("CHANGELOG", "## 1.2.3 \N{EN DASH} not yet released\n", "CHANGELOG.md: the section 1.2.3 has no date"),
        ("CHANGELOG", "## 1.2.3\n", "CHANGELOG.md: the section 1.2.3 has no date"),
        ("Dockerfile", FILES["deploy/Dockerfile"].replace(VERSION, "1.2.2"), "deploy/Dockerfile: the label"),
        ("Dockerfile", FILES["deploy/Dockerfile"].partition("LABEL")[0], "deploy/Dockerfile: the label"),
        ("Dockerfile", f'FROM python:2.7\nLABEL org.opencontainers.image.version="{VERSION}"\n', "this is Python 3."),
        ("kustomization", "newTag: 1.2.2\n", "deploy/kubernetes/overlays/staging/kustomization.yaml: newTag is 1.2.2"),
        (
            "Chart",
            f"version: {VERSION}\nappVersion: 1.2.2\n",
            "deploy/helm/metrics-worker/Chart.yaml: the version is 1.2.2",
        ),
    ],
)
def test_file_that_does_not_fit_the_release_is_named(tmp_path: Path, file: str, text: str, problem: str) -> None:
    (found,) = problems_with(tmp_path, **{file: text})
    assert found.startswith(problem)


def test_this_repository_lacks_nothing_but_the_date_of_a_release() -> None:
    others = [problem for problem in find_problems(REPOSITORY) if " has no date" not in problem]
    assert [problem for problem in others if not problem.startswith("this is Python")] == []
    assert read_version(REPOSITORY)

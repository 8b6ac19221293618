"""What `make release` builds from a commit."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from deploy.checks import tools
from deploy.local.process import REPOSITORY
from deploy.release import artifacts
from deploy.release.artifacts import NotReproducibleError, build_reproducibly, read_commit
from deploy.release.versions import read_version

pytestmark = pytest.mark.timeout(600)
NAME = f"execution_metrics_worker-{read_version(REPOSITORY)}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the files of a build of the current commit, which was compared with a second build."""
    files = build_reproducibly(REPOSITORY, read_commit(REPOSITORY), tmp_path_factory.mktemp("release"))
    return files[0].parent


def test_release_is_a_wheel_an_sdist_a_chart_and_an_sbom(built: Path) -> None:
    assert {file.name for file in built.iterdir()} == {
        f"{NAME}-py3-none-any.whl",
        f"{NAME}.tar.gz",
        f"{NAME}.cdx.json",
        f"metrics-worker-{read_version(REPOSITORY)}.tgz",
    }


def test_files_in_the_archives_have_the_time_of_the_commit(built: Path) -> None:
    epoch = read_commit(REPOSITORY).epoch
    with tarfile.open(built / f"{NAME}.tar.gz") as sdist:
        members = sdist.getmembers()
    assert {member.mtime for member in members} == {epoch}
    assert f"{NAME}/worker/cli.py" in {member.name for member in members}
    with zipfile.ZipFile(built / f"{NAME}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
    assert {
        "worker/cli.py",
        "worker/clickhouse/error_codes.txt",
        "schemas/clickhouse/0001_execution_metrics.sql",
    } <= names
    assert not any(name.startswith(("tests/", "deploy/")) for name in names)


def test_sbom_lists_every_package_that_the_image_installs(built: Path) -> None:
    bom = json.loads((built / f"{NAME}.cdx.json").read_text("utf-8"))
    assert (bom["bomFormat"], bom["specVersion"], "serialNumber" in bom) == ("CycloneDX", "1.6", False)
    worker = bom["metadata"]["component"]
    assert (worker["name"], worker["version"]) == ("execution-metrics-worker", read_version(REPOSITORY))
    listed = {component["purl"] for component in bom["components"]}
    program = "from importlib.metadata import distributions as d; print(*(f'{x.name}@{x.version}' for x in d()))"
    python = artifacts.ensure_requirements(REPOSITORY / "deploy" / "requirements.txt")
    installed = tools.run((python, "-c", program)).lower().replace("_", "-").split()
    assert listed == {f"pkg:pypi/{package}" for package in installed}
    (own,) = (entry for entry in bom["dependencies"] if entry["ref"] == worker["bom-ref"])
    assert any(name.startswith("aiokafka==") for name in own["dependsOn"])
    assert str(REPOSITORY) not in json.dumps(bom)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of this repository, to change."""
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{REPOSITORY}", folder], check=True)
    return folder


def test_commit_whose_build_depends_on_its_environment_is_refused(clone: Path, tmp_path: Path) -> None:
    (clone / "hatch_build.py").write_text(
        "import os, pathlib\n"
        "from hatchling.builders.hooks.plugin.interface import BuildHookInterface\n"
        "class Hook(BuildHookInterface):\n"
        "    def initialize(self, version, build_data):\n"
        "        pathlib.Path(self.root, 'worker', 'zone.py').write_text(os.environ['TZ'])\n",
        "utf-8",
    )
    with (clone / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("\n[tool.hatch.build.hooks.custom]\n")
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org")
    for words in (("add", "."), ("commit", "--quiet", "--message", "zone")):
        subprocess.run([*git, *words], cwd=clone, check=True)
    with pytest.raises(NotReproducibleError, match=rf"differ: {NAME}-py3-none-any.whl, {NAME}.tar.gz$"):
        build_reproducibly(clone, read_commit(clone), tmp_path / "build")


def test_release_is_not_built_while_a_file_does_not_fit_or_is_not_committed(clone: Path) -> None:
    (clone / "CHANGELOG.md").write_text("# Changelog\n\n## 9.9.9 \N{EN DASH} 2030-01-01\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "deploy.release"],
        cwd=clone,
        env=os.environ | {"PYTHONPATH": str(clone)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED  CHANGELOG.md begins with the section 9.9.9" in done.stdout
    assert "FAILED  there are changes that are not committed" in done.stdout
    assert not (clone / "dist").exists()

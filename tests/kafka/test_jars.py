"""The errors of the command that fetches Apache Kafka."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.apache_kafka import jars
from deploy.local.apache_kafka.jars import KafkaMissingError


@pytest.mark.parametrize(("installed", "missing"), [([], "java is not installed"), (["java"], "mvn is not installed")])
def test_missing_program_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: list[str], missing: str
) -> None:
    for name in installed:
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(jars, "CACHE", tmp_path / "cache")
    with pytest.raises(KafkaMissingError, match=missing):
        jars.ensure_jars()


def test_missing_java_fails_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.local.apache_kafka", "fetch"],
        capture_output=True,
        text=True,
        env={"PATH": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 3
    assert "Java 17" in done.stderr
    assert "Traceback" not in done.stderr


def test_jars_with_other_checksums_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / jars.kafka_version()
    shutil.copytree(jars.ensure_jars(), folder)
    monkeypatch.setattr(jars, "CACHE", tmp_path)
    assert jars.ensure_jars() == folder
    (folder / "stranger.jar").write_bytes(b"other")
    next(folder.glob("kafka-raft-*.jar")).write_bytes(b"other")
    with pytest.raises(KafkaMissingError, match=r"kafka-raft-.*\.jar, stranger\.jar"):
        jars.ensure_jars()


def test_old_java_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_392\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(KafkaMissingError, match=r"17 or newer; .*1\.8\.0_392"):
        jars.require_java()

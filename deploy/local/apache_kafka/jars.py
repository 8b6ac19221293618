"""The jars of Apache Kafka: fetched once with Maven, checked against pinned digests, kept in the checkout."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import tempfile
from hashlib import file_digest
from pathlib import Path

from deploy.local.process import REPOSITORY

CACHE = REPOSITORY / ".kafka"
FETCH_SECONDS = 300.0
OLDEST_JAVA = 17

_POM = Path(__file__).with_name("pom.xml")
_PINS = Path(__file__).with_name("jars.sha256")
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


class KafkaMissingError(RuntimeError):
    """Apache Kafka cannot be installed; the message says what is missing or ends with Maven's output."""


def kafka_version() -> str:
    """Return the version that pom.xml pins."""
    found = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>(.+?)</version>", _POM.read_text())
    if found is None:
        raise KafkaMissingError(f"{_POM} names no version of kafka_2.13")
    return found[1]


def ensure_jars() -> Path:
    """Fetch the jars if they are missing, verify them and return their folder. Safe for concurrent processes.

    Raises:
        KafkaMissingError: Java or Maven is missing, Maven failed, or a jar differs from its pinned digest.
    """
    require_java()
    folder = CACHE / kafka_version()
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _fetch_into(folder)
        _verify(folder)
    return folder


def pin() -> int:
    """Write the digests of the jars that Maven resolves now; return the number of jars."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _run_maven(folder)
        digests = _digests(folder)
    _PINS.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())))
    return len(digests)


def require_java() -> None:
    """Check the installed version of Java.

    Raises:
        KafkaMissingError: Java is missing or too old.
    """
    if shutil.which("java") is None:
        raise KafkaMissingError(f"java is not installed: Apache Kafka needs Java {OLDEST_JAVA} or newer, a JRE will do")
    output = subprocess.run(["java", "-version"], check=False, capture_output=True, text=True).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', output)
    if found is None or int(found[1]) < OLDEST_JAVA:
        raise KafkaMissingError(
            f"Apache Kafka needs Java {OLDEST_JAVA} or newer; `java -version` says: {output.strip()}"
        )


def _fetch_into(folder: Path) -> None:
    # Fetch into another folder and rename it, so that an existing folder is always complete.
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        _run_maven(Path(scratch))
        _verify(Path(scratch))
        shutil.copytree(scratch, partial := folder.with_name(f"{folder.name}.partial"), dirs_exist_ok=True)
        partial.rename(folder)


def _run_maven(folder: Path) -> None:
    if shutil.which("mvn") is None:
        raise KafkaMissingError("mvn is not installed: Apache Maven fetches the jars of Apache Kafka")
    finished = subprocess.run(
        [
            *("mvn", "--batch-mode", "--quiet", "--strict-checksums", "--file", str(_POM)),
            *(_COPY, "-DincludeScope=runtime", f"-DoutputDirectory={folder}"),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=FETCH_SECONDS,
    )
    if finished.returncode:
        raise KafkaMissingError(f"Maven could not fetch Apache Kafka:\n{finished.stdout}{finished.stderr}".rstrip())


def _verify(folder: Path) -> None:
    pins = (line.split() for line in _PINS.read_text().splitlines())
    pinned = {name: digest for digest, name in pins}
    found = _digests(folder)
    if wrong := sorted(name for name in pinned.keys() | found.keys() if pinned.get(name) != found.get(name)):
        raise KafkaMissingError(
            f"not what {_PINS.name} pins: {', '.join(wrong)}; remove {folder} to fetch them again, or, after a change "
            "of pom.xml, run python -m deploy.local.apache_kafka pin"
        )


def _digests(folder: Path) -> dict[str, str]:
    digests = {}
    for path in folder.glob("*.jar"):
        with path.open("rb") as jar:
            digests[path.name] = file_digest(jar, "sha256").hexdigest()
    return digests

"""`python -m deploy.release`: check that a release can be made, and build it into `dist`. It publishes nothing.

Exit code 1 if the files do not fit a release, or two builds differ. With `--draft` the files may not fit.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

from deploy.checks import tools
from deploy.local.process import REPOSITORY
from deploy.release.artifacts import NotReproducibleError, build_reproducibly, read_commit
from deploy.release.versions import find_problems, read_version

_OUTPUT = REPOSITORY / "dist"


def main() -> int:
    """Check, build, compare, and print what was built and how to build the image."""
    parser = argparse.ArgumentParser(prog="python -m deploy.release", description="build a release; publish nothing")
    parser.add_argument("--draft", action="store_true", help="build although the files do not fit a release yet")
    draft = parser.parse_args().draft
    try:
        return _release(draft=draft)
    except (NotReproducibleError, tools.ToolError) as error:
        _print_line(f"FAILED  {error}")
        return 1


def _release(*, draft: bool) -> int:
    problems = [*find_problems(REPOSITORY)]
    if tools.run(("git", "status", "--porcelain")):
        problems.append("there are changes that are not committed; only the commit is built")
    for problem in problems:
        _print_line(f"{'draft ' if draft else 'FAILED'}  {problem}")
    if problems and not draft:
        return 1
    commit = read_commit(REPOSITORY)
    with tempfile.TemporaryDirectory() as scratch:
        files = build_reproducibly(REPOSITORY, commit, Path(scratch))
        shutil.rmtree(_OUTPUT, ignore_errors=True)
        _OUTPUT.mkdir()
        built = [Path(shutil.copy(file, _OUTPUT)) for file in files]
    sums = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in built)
    (_OUTPUT / "SHA256SUMS").write_text(sums, "utf-8")
    _print_line(f"{_OUTPUT}: built twice from {commit.id}, with the same bytes\n{sums}")
    _print_line(
        "the image: docker buildx build --file deploy/Dockerfile --attest type=sbom \\\n"
        f"    --build-arg REVISION={commit.id} --build-arg SOURCE_DATE_EPOCH={commit.epoch} \\\n"
        "    --build-arg CREATED=$(git log -1 --format=%cI) \\\n"
        f"    --output type=image,name=REGISTRY/execution-metrics-worker:{read_version(REPOSITORY)},"
        "push=true,rewrite-timestamp=true ."
    )
    return 0


def _print_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

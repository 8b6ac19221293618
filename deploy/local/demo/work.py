"""Ordinary work for this machine: the commands of a build farm, some of them failing."""

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
from pathlib import Path
from random import Random
from typing import NamedTuple

SOURCES = ("argparse", "ast", "difflib", "inspect", "pickle", "subprocess", "tarfile", "typing")
"""Modules of the standard library whose sources are processed."""
HOW_MANY = 34

_HASH = "import hashlib, sys; [hashlib.new(sys.argv[1], open(p, 'rb').read()).hexdigest() for p in sys.argv[2:]]"
_COMPRESS = "import importlib, sys; importlib.import_module(sys.argv[1]).compress(open(sys.argv[2], 'rb').read())"
_PARSE = "import ast, sys; ast.parse(open(sys.argv[1], 'rb').read())"
_KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


class Work(NamedTuple):
    """A command, the agent that runs it, and for whom."""

    agent: str
    user: str | None
    command: list[str]


def prepare(folder: Path) -> list[Work]:
    """Copy the sources into `folder`, and list the commands, in an order that mixes the agents."""
    library = Path(sysconfig.get_path("stdlib"))
    sources = [Path(shutil.copy(library / f"{name}.py", folder)) for name in SOURCES]
    broken = folder / "broken.py"
    broken.write_text("def unfinished(:\n", encoding="utf-8")
    index = folder / "index.json"
    index.write_text(json.dumps({path.name: path.read_text("utf-8").splitlines() for path in sources}), "utf-8")
    works = [*_build_succeeding(sources, index), *_build_failing(sources[0], broken)]
    Random(7).shuffle(works)  # noqa: S311 - nothing here is a secret
    return works


def _build_succeeding(sources: list[Path], index: Path) -> list[Work]:
    files = [str(path) for path in sources]
    return [
        *(Work("compiler", "user-1", _python("-m", "py_compile", file)) for file in files),
        *(Work("hasher", "user-2", _script(_HASH, name, *files)) for name in ("sha256", "sha512", "blake2b")),
        *(Work("compressor", "user-3", _script(_COMPRESS, "gzip", file)) for file in files[::2]),
        *(Work("compressor", "user-3", _script(_COMPRESS, "lzma", file)) for file in files[1::2]),
        *(Work("parser", None, _script(_PARSE, file)) for file in files),
        Work("parser", None, _python("-m", "json.tool", str(index))),
    ]


def _build_failing(source: Path, broken: Path) -> list[Work]:
    return [
        Work("compiler", "user-1", _python("-m", "py_compile", str(broken))),
        Work("hasher", "user-2", _script(_HASH, "sha256", str(source.with_suffix(".gone")))),
        Work("compressor", "user-3", _script(_KILLED)),
        Work("parser", None, _python("-m", "json.tool", str(source))),
        Work("parser", None, _script("raise SystemExit(3)")),
        Work("linker", "user-1", [str(source.with_name("no-such-program"))]),
    ]


def _script(text: str, *arguments: str) -> list[str]:
    return _python("-S", "-c", text, *arguments)


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-I", *arguments]

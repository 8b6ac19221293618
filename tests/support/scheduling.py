"""Which tests pytest-xdist keeps together: those of a file with a fixture for the whole of it, which is made once then.

All others go one by one to whichever process is free. `--dist loadgroup` would do the same for marked tests, but
pytest-xdist 3.8 marks none with pytest 9.2: it renames items through an attribute that pytest no longer reads.
"""

from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling


class SharedFixtureScheduling(LoadScopeScheduling):  # type: ignore[misc] # pytest-xdist has no types
    """Gives out the largest files with shared fixtures first, then single tests as they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if _has_shared_fixture(self.config.rootpath / file) else nodeid


@cache
def _has_shared_fixture(file: Path) -> bool:
    return 'scope="module"' in file.read_text("utf-8")

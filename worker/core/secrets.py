"""Secrets that may change while the program runs: each new connection uses the current content of their file."""

from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


class Secret:
    """A password or token, which no `repr` shows. If it has a `file`, each use reads the value from there again."""

    def __init__(self, text: str, file: Path | None = None) -> None:
        self._text = text
        self._file = file

    def __repr__(self) -> str:
        """Name the source, not the value."""
        return f"Secret(from {self._file})" if self._file else "Secret()"

    def reveal(self) -> str:
        """The current value. If the file cannot be read or is empty, as while it is being replaced: the last value."""
        if self._file is not None:
            try:
                self._text = self._file.read_text("utf-8").rstrip() or self._text
            except (OSError, UnicodeDecodeError) as error:
                log.warning("a secret cannot be read again", file=str(self._file), error=type(error).__name__)
        return self._text

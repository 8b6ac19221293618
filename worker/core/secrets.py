"""Secrets that may change while the program runs: each connection is made with what their file says then."""

from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


class Secret:
    """A password or token. Nothing that prints this shows it.

    Args:
        text: its value now; of a file, without the white space at its end.
        file: where it is read anew, or None where it is given once and for all.
    """

    def __init__(self, text: str, file: Path | None = None) -> None:
        self._text = text
        self._file = file

    def __repr__(self) -> str:
        """Where it comes from."""
        return f"Secret(from {self._file})" if self._file else "Secret()"

    def reveal(self) -> str:
        """The value now. Where the file cannot be read, or is empty, as while it is being replaced: the last one."""
        if self._file is not None:
            try:
                self._text = self._file.read_text("utf-8").rstrip() or self._text
            except (OSError, UnicodeDecodeError) as error:
                log.warning("a secret cannot be read again", file=str(self._file), error=type(error).__name__)
        return self._text

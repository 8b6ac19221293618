"""The option `--edit` of a replay."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import click

from worker.dead_letters.settlement import Action, Settlement
from worker.replay.event_editor import EventEditor, InvalidExpression


@contextmanager
def open_editor(expression: str | None, entry: Settlement) -> Iterator[tuple[Settlement, EventEditor | None]]:
    """Start the editor, if there is an expression. Yields the entry of the journal with it, and the editor.

    Raises UsageError if the entry has no reason, or the expression is none.
    """
    if expression is None:
        yield entry, None
        return
    if not (entry.why or "").strip():
        raise click.UsageError("--edit needs a --reason, for the journal")
    try:
        editor = EventEditor(expression, entry.by)
    except InvalidExpression as error:
        raise click.BadParameter(str(error), param_hint="--edit") from error
    with closing(editor):
        yield entry._replace(action=Action.EDITED, edit=expression), editor

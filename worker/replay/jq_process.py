"""The program of a process that applies one jq expression to documents, within limits of CPU and memory.

An expression can run forever or take any memory, and jq ends its process when it gets no more. So it has a process of
its own, which imports nothing else of the worker. `worker.replay.event_editor` starts it.

A message is a status (one byte), a length (four bytes) and a text. The parent sends the expression, then documents;
each has one answer. The status of an answer is OK or FAILED, whose text is the reason.
"""

import re
import resource
import signal
import struct
import sys
from collections.abc import Callable
from typing import IO, Any

OK, FAILED, MISSING = 0, 1, 2
"""MISSING: jq is not installed."""
CPU_SECONDS = 2
"""For the expression, and for each document."""
MEMORY_BYTES = 256 * 1024 * 1024
"""An event of 15 MB takes 165 MB; the process shares the memory limit of its pod."""
MAX_RESULT_BYTES = 16 * 1024 * 1024
_HEADER = struct.Struct(">BI")
_MAX_REASON = 300
"""Characters; the message of an error can hold the document."""
_VALUE = re.compile(r"\([^()]*\)")
_SAME, _NO_NUMBER = "same", "no number"
_TYPES = {'"': "a string", "[": "an array", "t": "a boolean", "f": "a boolean", "n": "null"}


class _InvalidResult(Exception):
    """The expression does not yield one object."""


def write_message(stream: IO[bytes], status: int, text: bytes) -> None:
    """Write one message."""
    stream.write(_HEADER.pack(status, len(text)) + text)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[int, bytes]:
    """Read one message: status and text. Raises EOFError at the end of the stream."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError
    status, length = _HEADER.unpack(header)
    text = stream.read(length)
    if len(text) < length:
        raise EOFError
    return status, text


def _compile(expression: str) -> Any:  # noqa: ANN401 - the binding ships no types
    """Raises ValueError if the syntax is wrong, ImportError if jq is not installed."""
    import jq

    jq.compile(expression)  # alone, so that no bracket of it closes one of the next line
    # jq itself writes the result: the numbers that the expression does not change keep all their digits.
    return jq.compile(
        f'. as $original | ({expression}\n) | if . == $original then "{_SAME}" '
        f'elif any(.. | numbers; isinfinite or isnan) then "{_NO_NUMBER}" else tojson end'
    )


def _apply(program: Any, document: str) -> str:  # noqa: ANN401 - the binding ships no types
    results: list[str] = []
    for result in program.input_text(document):
        results.append(result)
        if len(results) > 1:
            raise _InvalidResult("the expression yields several values, not one object")
    if not results:
        raise _InvalidResult("the expression yields nothing, not one object")
    if results[0] == _SAME:
        raise _InvalidResult("the expression changes nothing")
    if results[0] == _NO_NUMBER:
        # jq would write the largest number for infinity, and null for NaN.
        raise _InvalidResult("the expression yields infinity or NaN, which JSON does not have")
    if not results[0].startswith("{"):
        raise _InvalidResult(f"the expression yields {_TYPES.get(results[0][0], 'a number')}, not an object")
    if len(results[0]) > MAX_RESULT_BYTES:
        raise _InvalidResult(f"the result has more than {MAX_RESULT_BYTES} characters")
    return results[0]


def _answer(work: Callable[..., Any], *arguments: object) -> tuple[int, bytes, Any]:
    """Status and text of the answer, and the result of `work`."""
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        result = work(*arguments)
    except ImportError:
        return MISSING, b"", None
    except MemoryError:
        return FAILED, b"it needs too much memory", None
    except (ValueError, _InvalidResult) as error:
        # Errors of one kind have one reason: jq writes the values in brackets.
        reason = _VALUE.sub("(…)", str(error))[:_MAX_REASON]
        return FAILED, reason.encode("utf-8", "backslashreplace"), None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return OK, b"", result


def main() -> None:
    """Serve the parent until it closes the stream."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, also inside jq
    _, expression = read_message(sys.stdin.buffer)
    status, text, program = _answer(_compile, expression.decode())
    write_message(sys.stdout.buffer, status, text)
    while program is not None:
        try:
            _, document = read_message(sys.stdin.buffer)
        except EOFError:
            return
        status, text, result = _answer(_apply, program, document.decode())
        write_message(sys.stdout.buffer, status, text if result is None else result.encode("utf-8"))


if __name__ == "__main__":
    main()

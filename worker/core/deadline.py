"""A limit for a whole answer: the time-out of a socket begins again with each byte."""

from contextlib import suppress
from socket import SHUT_RDWR, socket
from threading import Timer


def shut_down_after(connection: socket, seconds: float) -> Timer:
    """Shut `connection` down after so many seconds, unless the timer is cancelled; what reads finds its end."""
    timer = Timer(seconds, _shut_down, [connection])
    timer.daemon = True
    timer.start()
    return timer


def _shut_down(connection: socket) -> None:
    with suppress(OSError):  # it is closed already
        connection.shutdown(SHUT_RDWR)

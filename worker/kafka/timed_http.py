"""HTTP requests whose whole answer must arrive in time."""

from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from urllib.request import HTTPHandler, HTTPSHandler, Request

from worker.core.deadline import shut_down_after

_GRACE_SECONDS = 1.0
"""So that the time-out of a silent server comes first, and is reported as what it is."""


class _TimedConnection(HTTPConnection):
    def connect(self) -> None:
        """Connect, and begin to count the time; overrides the method of the library."""
        super().connect()
        if self.timeout is not None:
            shut_down_after(self.sock, self.timeout + _GRACE_SECONDS)


class _TimedTlsConnection(_TimedConnection, HTTPSConnection):
    pass


class TimedHandler(HTTPSHandler, HTTPHandler):
    """Opens http and https; the whole answer has a second more than the time-out, which begins when it is connected."""

    def http_open(self, req: Request) -> HTTPResponse:
        """Open `req`; overrides the method of urllib."""
        return self.do_open(_TimedConnection, req)

    def https_open(self, req: Request) -> HTTPResponse:
        """Open `req`; overrides the method of urllib."""
        return self.do_open(_TimedTlsConnection, req, context=self._context)  # type: ignore[attr-defined]

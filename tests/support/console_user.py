"""A user of the console: reads its pages, fills in their forms, and sends them as a browser does."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from xml.etree.ElementTree import Element

import httpx

from tests.support.console import Fields, parse_page, texts
from tests.support.local import wait_until

_STATE = re.compile(r"<title>[^<]*: (\w+) \S dead letters")
_NOTHING: Mapping[str, str] = MappingProxyType({})


class ConsoleUser:
    """A user of the console at an address, who waits so long for an action."""

    def __init__(self, address: str, seconds: float = 60.0) -> None:
        self._address = address
        self._seconds = seconds

    def read(self, path: str) -> str:
        """The text of a page."""
        return texts(parse_page(self._get(path).text))

    def read_source(self, path: str = "/") -> str:
        """The HTML of a page."""
        return self._get(path).text

    def check(self, path: str, fields: Mapping[str, str] = _NOTHING) -> str:
        """Fill in the form of an action and send it; the path of the action, whose preview is done."""
        action = self._submit(path, fields)
        self.wait_for(action, "ready", "failed")
        return action

    def start(self, action: str) -> None:
        """Confirm an action."""
        self._submit(action)

    def stop(self, action: str) -> None:
        """Stop an action."""
        self._submit(action)

    def act(self, path: str, fields: Mapping[str, str] = _NOTHING) -> str:
        """Check an action, confirm it and wait until it is over; its page."""
        action = self.check(path, fields)
        self.start(action)
        self.wait_for(action, "done")
        return self.read(action)

    def state(self, action: str) -> str:
        """The state of an action."""
        match = _STATE.search(self._get(action).text)
        assert match is not None
        return match[1]

    def wait_for(self, action: str, *states: str) -> None:
        """Wait until an action is in one of the states."""
        wait_until(lambda: self.state(action) in states, f"{action} is {states}", self._seconds, 0.1)

    def post(self, path: str, fields: Fields) -> httpx.Response:
        """Send a form, and follow the redirect."""
        headers = {"Origin": self._address}
        return httpx.post(self._address + path, data=dict(fields), headers=headers, timeout=20, follow_redirects=True)

    def _get(self, path: str) -> httpx.Response:
        return httpx.get(self._address + path, timeout=20)

    def _submit(self, path: str, fields: Mapping[str, str] = _NOTHING) -> str:
        page = self._get(path)
        assert page.status_code == 200, page.text
        form = next(each for each in parse_page(page.text).iter("form") if each.get("method") == "post")
        values = _read_fields(form)
        assert fields.keys() <= values.keys(), values.keys()
        answer = self.post(form.get("action") or "", {**values, **fields})
        assert answer.status_code == 200, texts(parse_page(answer.text))
        return answer.url.path


def _read_fields(form: Element) -> dict[str, str | list[str]]:
    """What a browser sends of a form that nobody has changed."""
    values: dict[str, str | list[str]] = {}
    letters = [field.get("value") or "" for field in form.iter("input") if field.get("name") == "letter"]
    for field in [*form.iter("input"), *form.iter("textarea")]:
        values[field.get("name") or ""] = field.get("value") or field.text or ""
    for field in form.iter("select"):
        options = list(field.iter("option"))
        chosen = [option for option in options if option.get("selected") is not None] or options
        values[field.get("name") or ""] = chosen[0].text or ""
    return values | ({"letter": letters} if letters else {})

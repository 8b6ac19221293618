"""The rules of CONSOLE_MASK: which fields of JSON and which headers only editors see.

Rules are separated by commas. `NAME` is a field at any depth, `A.B` a field B directly in a field A, and `header:NAME`
a header. `*` stands for any text, dots too. Case does not matter. An array adds nothing to the path of what is in it.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

_HEADER = "header:"
_MAX_PATH = 1_000
"""Characters; what is deeper is masked, because several `*` in a rule take long to compare."""


class MaskRules(NamedTuple):
    """The rules; without any, nothing is masked.

    Attributes:
        everything: the rule `*`, which also masks what has no name.
        fields: match the end of a path.
        headers: match a name.
    """

    everything: bool = False
    fields: re.Pattern[str] | None = None
    headers: re.Pattern[str] | None = None

    def __bool__(self) -> bool:
        """Whether anything is masked."""
        return self != NO_RULES

    def masks_field(self, path: Sequence[str]) -> bool:
        """Whether the value of the field with this path, from the outermost name to its own, is masked."""
        text = "." + ".".join(path)
        if self.everything or self.fields is None:
            return self.everything
        return len(text) > _MAX_PATH or self.fields.search(text) is not None

    def masks_header(self, name: str) -> bool:
        """Whether the value of a header is masked."""
        return self.everything or (self.headers is not None and self.headers.fullmatch(name) is not None)


NO_RULES = MaskRules()


def parse_mask_rules(text: str) -> MaskRules:
    """The rules of a text. Raises ValueError for one that is none."""
    rules = [rule.strip() for rule in text.split(",")]
    headers = [rule[len(_HEADER) :] for rule in rules if rule.lower().startswith(_HEADER)]
    fields = [rule for rule in rules if not rule.lower().startswith(_HEADER)]
    for rule in [*headers, *fields]:
        if not rule or not rule.isprintable() or not all(rule.split(".")):
            raise ValueError
        if rule.startswith("$"):
            raise ValueError("a path begins with the name of a field")
    return MaskRules("*" in fields, _compile(fields, r"\.(?:%s)\Z"), _compile(headers, "(?:%s)"))


def _compile(rules: Sequence[str], pattern: str) -> re.Pattern[str] | None:
    if not rules:
        return None
    alternatives = "|".join(".*".join(map(re.escape, re.split(r"\*+", rule))) for rule in rules)
    return re.compile(pattern % alternatives, re.IGNORECASE | re.DOTALL)

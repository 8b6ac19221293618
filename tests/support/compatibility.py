"""Compatible changes of a published JSON Schema: the rules of schemas/README.md as code.

Others write events and we read them, so a new schema must accept what the released one accepted. We write dead letters
and others read them, so a new schema must accept nothing that the released one refused. Both ask which schema is the
wider one. Keywords that the rules do not know must not change.
"""

from collections.abc import Iterator
from typing import Any

Schema = Any

_WORDS = frozenset({"title", "description", "examples", "$comment", "default"})
_LEAST = frozenset({"minLength", "minimum", "minItems", "minProperties"})
_MOST = frozenset({"maxLength", "maximum", "maxItems", "maxProperties"})


def find_incompatibilities(wide: Schema, narrow: Schema, at: str = "") -> Iterator[str]:
    """Each place where `wide` may refuse what `narrow` accepts. It may name a harmless change, and misses none."""
    if not (isinstance(wide, dict) and isinstance(narrow, dict)):
        if wide != narrow and wide is not True and narrow is not False:
            yield f"{at or '/'}: {wide!r} does not accept all of {narrow!r}"
        return
    for keyword in sorted((wide.keys() | narrow.keys()) - _WORDS):
        yield from _keyword(keyword, wide.get(keyword), narrow.get(keyword), narrow, f"{at}/{keyword}")


def _keyword(keyword: str, wide: Any, narrow: Any, all_narrow: Schema, at: str) -> Iterator[str]:
    if wide == narrow:
        return
    if keyword == "properties":
        yield from _properties(wide or {}, narrow or {}, all_narrow, at)
    elif keyword == "$defs":
        for name in sorted((narrow or {}).keys() | (wide or {}).keys()):
            if name not in (wide or {}) or name not in (narrow or {}):
                yield f"{at}/{name}: is only in one of them"
            else:
                yield from find_incompatibilities(wide[name], narrow[name], f"{at}/{name}")
    elif wide is None and keyword not in ("$schema", "$id", "$ref"):
        return  # one rule less
    elif narrow is None:
        yield f"{at}: is a new rule"
    elif not _is_wider(keyword, wide, narrow):
        yield f"{at}: {wide!r} does not accept all of {narrow!r}"


def _properties(wide: Schema, narrow: Schema, all_narrow: Schema, at: str) -> Iterator[str]:
    open_ended = all_narrow.get("additionalProperties", True) is not False
    for name in sorted(wide.keys() | narrow.keys()):
        if name in wide and name in narrow:
            yield from find_incompatibilities(wide[name], narrow[name], f"{at}/{name}")
        elif name in wide and open_ended:
            # The narrow schema accepts any value of this name.
            yield from find_incompatibilities(wide[name], {}, f"{at}/{name}")
        elif name in narrow:
            yield f"{at}/{name}: is not described any more"


def _is_wider(keyword: str, wide: Any, narrow: Any) -> bool:
    if keyword in _LEAST:
        return bool(wide <= narrow)
    if keyword in _MOST:
        return bool(wide >= narrow)
    if keyword == "required":
        return set(wide) <= set(narrow)
    if keyword == "enum":
        return all(value in wide for value in narrow)
    if keyword == "type":
        return _types(narrow) <= _types(wide)
    return keyword == "additionalProperties" and wide is True


def _types(value: str | list[str]) -> set[str]:
    return {value} if isinstance(value, str) else set(value)

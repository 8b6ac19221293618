"""Read Markdown documents: text without code blocks, and sections by anchor."""

import re


def prose(text: str) -> str:
    """Return the text without fenced code blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def sections(text: str) -> dict[str, str]:
    """Return the prose of each section, subsections included, by its anchor."""
    text = prose(text)
    found = {}
    for heading in re.finditer(r"^(#+) (.*)$", text, re.MULTILINE):
        body = text[heading.end() :]
        found[anchor(heading[2])] = re.split(rf"^#{{1,{len(heading[1])}}} ", body, maxsplit=1, flags=re.MULTILINE)[0]
    return found

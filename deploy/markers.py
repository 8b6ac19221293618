"""Generated parts of documents, between two markers."""


def replace_between(document: str, begin: str, end: str, text: str) -> str:
    """Put `text` between the two markers in `document`, on lines of its own.

    Raises:
        ValueError: the markers are missing or in the wrong order.
    """
    before, found_begin, rest = document.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"the document has no {begin} with {end} after it")
    return f"{before}{begin}\n{text}\n{end}{after}"

"""The documents: the README is one page and tells the truth, and every link between documents leads somewhere."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from worker.cli import cli
from worker.settings.fields import Settings

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text("utf-8")
MAX_LINES = 130
_PLACES = ("*.md", "deploy/**/*.md", "schemas/**/*.md", "tests/**/*.md", "worker/**/*.md")
DOCUMENTS = sorted(path for place in _PLACES for path in REPOSITORY.glob(place) if "node_modules" not in path.parts)


def prose(document: Path) -> str:
    """The text of a document without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(document: Path) -> list[str]:
    """The targets of a document's links and pictures, but for those on the web."""
    found = re.findall(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"", prose(document))
    return [target for pair in found if (target := "".join(pair)) and "://" not in target]


def test_the_readme_is_one_page() -> None:
    assert len(README.splitlines()) <= MAX_LINES


def test_the_event_of_the_readme_becomes_what_its_picture_says(tmp_path: Path) -> None:
    picture = next(block for block in README.split("```") if "───▶" in block)
    event = "".join(line.partition("───▶")[0].rstrip() for line in picture.splitlines())
    file = tmp_path / "event.jsonl"
    file.write_text(f"{event}\n", "utf-8")

    said = CliRunner().invoke(cli, ["validate", str(file)]).output

    rows, letters, skipped = (picture.count(f"───▶  {end}") for end in ("row", "dead letter", "skipped"))
    assert (rows, letters, skipped) == (3, 1, 1)
    assert f"{rows} rows; skipped 1 string; 1 events refused" in said
    assert 'metric "quality_score" would be a dead letter' in said
    assert "NaN does not fit a Float64" in said


def test_the_variables_of_the_readme_exist_and_have_these_defaults() -> None:
    section = README.split("## Settings\n", 1)[1]
    named = re.findall(r"`([A-Z_]+)`", section)
    assert len(named) == 6
    assert set(named) <= {name.upper() for name in Settings.model_fields}
    for name, default in re.findall(r"`([A-Z_]+)`\s*\((?:default )?`([^`]+)`\)", section):
        assert str(Settings.model_fields[name.lower()].default) == default


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in links(document):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_file_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text("utf-8")
    named = re.findall(r"`((?:tests|worker|deploy|schemas)/[\w./-]+\.\w+)`", text)
    of_worker = [f"worker/{name}" for name in re.findall(r"`([a-z_]+/[a-z_]+\.py)`", text)]
    missing = {
        name
        for name in [*named, *of_worker]
        if not (REPOSITORY / name).exists() and not (document.parent / name).exists()
    }
    assert missing - {"schemas/clickhouse/NNNN_name.sql"} == set()

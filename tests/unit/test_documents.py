"""The README is one page and correct; links and file names in all documents exist."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.markdown import prose, sections
from worker.cli import cli
from worker.settings.fields import Settings

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text("utf-8")
MAX_LINES = {"README.md": 130, "deploy/README.md": 120}
_PATTERNS = ("*.md", "deploy/**/*.md", "schemas/**/*.md", "tests/**/*.md", "worker/**/*.md")
DOCUMENTS = sorted(
    path for pattern in _PATTERNS for path in REPOSITORY.glob(pattern) if "node_modules" not in path.parts
)
documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))


def local_links(document: Path) -> list[str]:
    """Return the targets of a document's links and pictures, without web addresses."""
    found = re.findall(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"", prose(document.read_text("utf-8")))
    return [target for pair in found if (target := "".join(pair)) and "://" not in target]


@pytest.mark.parametrize("page", MAX_LINES)
def test_first_pages_are_short(page: str) -> None:
    assert len((REPOSITORY / page).read_text("utf-8").splitlines()) <= MAX_LINES[page]


def test_readme_example_event_gives_the_rows_and_dead_letters_of_its_picture(tmp_path: Path) -> None:
    picture = next(block for block in README.split("```") if "───▶" in block)
    event = "".join(line.partition("───▶")[0].rstrip() for line in picture.splitlines())
    file = tmp_path / "event.jsonl"
    file.write_text(f"{event}\n", "utf-8")
    output = CliRunner().invoke(cli, ["validate", str(file)]).output
    rows, letters, skipped = (picture.count(f"───▶  {end}") for end in ("row", "dead letter", "skipped"))
    assert (rows, letters, skipped) == (3, 1, 1)
    assert f"{rows} rows; skipped 1 string; 1 events refused" in output
    assert 'metric "quality_score" would be a dead letter' in output
    assert "NaN does not fit a Float64" in output


def test_readme_settings_exist_and_have_the_documented_defaults() -> None:
    section = README.split("## Settings\n", 1)[1]
    named = re.findall(r"`([A-Z_]+)`", section)
    assert len(named) == 6
    assert set(named) <= {name.upper() for name in Settings.model_fields}
    for name, default in re.findall(r"`([A-Z_]+)`\s*\((?:default )?`([^`]+)`\)", section):
        assert str(Settings.model_fields[name.lower()].default) == default


@documents
def test_links_have_existing_targets(document: Path) -> None:
    for link in local_links(document):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in sections(target.read_text("utf-8")), link


@documents
def test_files_named_in_a_document_exist(document: Path) -> None:
    text = document.read_text("utf-8")
    named = re.findall(r"`((?:tests|worker|deploy|schemas)/[\w./-]+\.\w+)`", text)
    of_worker = [f"worker/{name}" for name in re.findall(r"`([a-z_]+/[a-z_]+\.py)`", text)]
    missing = {
        name
        for name in [*named, *of_worker]
        if not (REPOSITORY / name).exists() and not (document.parent / name).exists()
    }
    assert missing - {"schemas/clickhouse/NNNN_name.sql"} == set()


def kafka_commands(document: Path) -> list[str]:
    """The commands of Kafka with arguments that a document prints, each on one line."""
    text = document.read_text("utf-8")
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(text))]
    return [code for code in [*lines, *spans] if re.match(r"kafka-[a-z-]+\.sh ", code)]


@documents
def test_commands_of_kafka_can_run_as_printed(document: Path) -> None:
    for command in kafka_commands(document):
        needed = ["--bootstrap-server"]
        if re.search("--reset-offsets|--delete-offsets", command):
            needed += ["--group", "--topic"]
        if command.startswith("kafka-console-consumer.sh"):
            needed += ["--topic"]
        assert [option for option in needed if f"{option} " not in command] == [], command


def test_documents_have_commands_of_kafka() -> None:
    assert len([command for document in DOCUMENTS for command in kafka_commands(document)]) > 15

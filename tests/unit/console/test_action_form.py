"""What a form may ask for, and who may send it."""

from urllib.parse import urlencode

import pytest

from tests.support.console import ConsoleHarness, Fields, parse_page, texts
from tests.unit.replay.harness import failed_metric, topic_of
from worker.console.actions.form import MAX_LETTERS, InvalidForm, parse_fields, parse_form
from worker.console.actions.request import ActionKind
from worker.console.identity import Identity, Role
from worker.core.model import DeadLetterPosition

CAUSE = "0123abcd"


def parse(**fields: str | list[str]) -> object:
    return parse_form(parse_fields(urlencode(fields, doseq=True).encode()))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"do": "delete", "cause": CAUSE},
        {"do": "replay"},
        {"do": "replay", "cause": "0123abc"},
        {"do": "replay", "cause": "foreign"},
        {"do": "edit", "cause": "foreign"},
        {"do": "replay", "letter": "0"},
        {"do": "replay", "letter": ["0:1", "-1:1"]},
        {"do": "replay", "letter": "0:1 "},
        {"do": "replay", "letter": "²:1"},
        {"do": "replay", "letter": [f"0:{number}" for number in range(MAX_LETTERS + 1)]},
        {"do": "replay", "letter": ["0:1"] * 1_000},
    ],
)
def test_form_without_an_action_or_dead_letters_is_refused(fields: dict[str, str | list[str]]) -> None:
    with pytest.raises(InvalidForm):
        parse(**fields)


@pytest.mark.parametrize("text", [b"do=%ff&cause=foreign", b"\xff", b"do=replay&letter=%zz%"])
def test_bytes_that_are_no_form_are_refused(text: bytes) -> None:
    with pytest.raises(InvalidForm):
        parse_form(parse_fields(text))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"do": "discard", "cause": CAUSE}, "A reason is needed"),
        ({"do": "discard", "cause": CAUSE, "reason": " \r\n"}, "A reason is needed"),
        ({"do": "edit", "cause": CAUSE, "expression": "."}, "A reason is needed"),
        ({"do": "edit", "cause": CAUSE, "reason": "r"}, "An expression of jq is needed"),
        ({"do": "edit", "cause": CAUSE, "reason": "r", "expression": "x" * 2_001}, "at most 2,000 characters"),
        ({"do": "replay", "cause": CAUSE, "reason": "x" * 1_001}, "at most 1,000 characters"),
        *(
            ({"do": "replay", "cause": CAUSE, name: value}, f"{what} must be a number from 1 to 10,000,000.")
            for name, what in (("limit", "The limit"), ("rate", "The rate"), ("max_replays", "The number of replays"))
            for value in ("", "0", "-1", "1.5", "1e3", "x", "10000001", "²", "9" * 400)
        ),
    ],
)
def test_value_to_correct_is_named(fields: dict[str, str], problem: str) -> None:
    form = parse_form(parse_fields(urlencode(fields).encode()))
    assert any(problem in each for each in form.problems)


def test_form_has_defaults_and_survives_its_own_address() -> None:
    form = parse_form(parse_fields(b"do=edit&letter=0:5&letter=0:3&letter=0:5&reason=r&expression=.a%0D%0A%7C%20.b"))
    assert not form.problems
    request = form.request
    assert request.letters == (DeadLetterPosition(0, 3), DeadLetterPosition(0, 5))
    assert (request.limit, request.rate, request.max_replays) == (10_000, 5_000, 5)
    assert request.expression == ".a\n| .b"
    assert parse_form(parse_fields(request.query.encode())).request == request


FORMS: dict[str, Fields] = {
    "replay": {"do": "replay", "letter": "0:0"},
    "edit": {"do": "edit", "letter": "0:0", "expression": ".a = 1", "reason": "r"},
    "discard": {"do": "discard", "letter": "0:0", "reason": "r"},
    "restore": {"do": "restore", "letter": "0:0"},
}


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("role", Role)
async def test_role_against_action(kind: str, role: Role) -> None:
    """An operator may not edit; a viewer may do nothing, and sees no button."""
    harness = ConsoleHarness(await topic_of(failed_metric("a")), identity=Identity("edna", Role.EDITOR))
    await harness.check()
    path = (await harness.post("/actions", FORMS[kind])).headers["location"]
    page = await harness.request("/actions/new?do=discard&letter=0:0")
    harness.identity = Identity("edna", role)
    allowed = role >= (Role.EDITOR if kind == "edit" else Role.OPERATOR)
    shown = await harness.request("/actions/new?" + urlencode(FORMS[kind], doseq=True))
    assert shown.status_code == (200 if allowed else 403)
    if not allowed:
        needed = "editor" if kind == "edit" else "operator"
        assert f"This needs the role {needed}; edna is {role.name.lower()}." in texts(parse_page(shown.text))
    token = page.text.partition('name="token" value="')[2].partition('"')[0]
    if role >= Role.OPERATOR:
        token = (await harness.request("/actions/new?do=discard&letter=0:0")).text
        token = token.partition('name="token" value="')[2].partition('"')[0]
    else:
        own = (await harness.request(path)).text
        assert "<button" not in own
        assert "<button" not in (await harness.request("/letters/0:0")).text
        assert "/actions/new" not in (await harness.request("/letters/0:0")).text
    for address in ("/actions", f"{path}/start"):
        answer = await harness.request(
            address, "POST", headers={"Origin": "http://127.0.0.1:8090"}, data={**FORMS[kind], "token": token}
        )
        assert answer.status_code == (303 if allowed else 403), address


async def test_only_who_has_checked_an_action_may_start_it() -> None:
    harness = ConsoleHarness(await topic_of(failed_metric("a")), identity=Identity("otto", Role.OPERATOR))
    await harness.check()
    path = (await harness.post("/actions", FORMS["discard"])).headers["location"]
    harness.identity = Identity("olga", Role.EDITOR)
    assert "Discard: 1" not in texts(parse_page((await harness.request(path)).text))
    assert (await harness.post(f"{path}/start", {})).status_code == 403
    assert (await harness.post(f"{path}/stop", {})).status_code == 303
    assert harness.actions.latest()[0].state == "stopped"


async def test_form_is_shown_again_with_what_was_filled_in() -> None:
    harness = ConsoleHarness(await topic_of(failed_metric("a")), identity=Identity("edna", Role.EDITOR))
    await harness.check()
    answer = await harness.post("/actions", FORMS["edit"] | {"reason": "", "rate": "77", "expression": '.a = "<b>"'})  # type: ignore[operator]
    assert answer.status_code == 422
    page = parse_page(answer.text)
    assert "A reason is needed" in texts(page)
    assert [field.get("value") for field in page.iter("input") if field.get("name") == "rate"] == ["77"]
    assert [field.text for field in page.iter("textarea")] == ['.a = "<b>"']
    assert [kind.value for kind in ActionKind if kind.replays] == ["replay", "edit"]

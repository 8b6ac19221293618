"""Sessions in memory."""

from worker.console.users.sessions import Sessions


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_session_is_found_until_it_ends() -> None:
    clock = Clock()
    sessions = Sessions[str](10, 100, clock)
    secret = sessions.begin("ana")
    assert sessions.find(secret) == "ana"
    clock.now = 10
    assert sessions.find(secret) is None
    assert sessions.end(secret) is None


def test_session_ends_once() -> None:
    sessions = Sessions[str](10, 100)
    secret = sessions.begin("ana")
    assert (sessions.end(secret), sessions.end(secret), sessions.find(secret)) == ("ana", None, None)


def test_oldest_is_forgotten_when_there_are_too_many() -> None:
    sessions = Sessions[int](10, 3)
    secrets = [sessions.begin(number) for number in range(5)]
    assert [sessions.find(secret) for secret in secrets] == [None, None, 2, 3, 4]
    assert len(set(secrets)) == 5


def test_nothing_is_found_without_a_secret() -> None:
    sessions = Sessions[int](10, 3)
    assert [sessions.find(secret) for secret in (None, "", "x")] == [None, None, None]

"""Lists of servers, and the order in which they are tried."""

import pytest

from worker.clickhouse.servers import RecentFailures, Server, parse_servers


def test_list_has_optional_ports_and_addresses() -> None:
    servers = parse_servers("ch-1, ch-2.x.:9440,[::1],[2001:DB8::1%eth0]:9001", 9000)
    assert servers == [
        Server("ch-1", 9000),
        Server("ch-2.x.", 9440),
        Server("::1", 9000),
        Server("2001:db8::1%eth0", 9001),
    ]
    assert ",".join(map(str, servers)) == "ch-1:9000,ch-2.x.:9440,[::1]:9000,[2001:db8::1%eth0]:9001"
    assert parse_servers("2001:db8::1", 9000) == [Server("2001:db8::1", 9000)]


@pytest.mark.parametrize(
    "text", ["", "a,", "a:0", "a:65536", "a:b", "http://a", "[::1", "[a]:9000", "a b", "::1:x", "a..b", ".a", "a" * 64]
)
def test_what_is_no_list_of_servers_is_refused_without_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        parse_servers(text, 9000)


def test_servers_that_failed_recently_come_last_and_the_longest_ago_of_them_first() -> None:
    failures = RecentFailures()
    failures.add("b")
    failures.add("a")
    assert failures.order("abc") == ["c", "b", "a"]
    failures.remove("a")
    assert failures.order("abc") == ["a", "c", "b"]


def test_server_is_tried_again_in_its_place_after_a_while() -> None:
    failures = RecentFailures(avoid_seconds=0)
    failures.add("a")
    assert failures.order("ab") == ["a", "b"]

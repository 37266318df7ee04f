"""Automatic addresses: stable, oldest first, whatever the order of arrival (pilot.md D2)."""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from itertools import permutations

import pytest

from mast.pilot.core.model.auto_addresses import AutoAddresses, Claim


def claim(age: int, text: str) -> Claim:
    return Claim((age, text, ""), text)


def made(claims: Iterable[tuple[str, Claim]]) -> AutoAddresses[str]:
    found: AutoAddresses[str] = AutoAddresses()
    for holder, each in claims:
        found.claim(holder, each)
    return found


def slots(found: AutoAddresses[str], holders: Iterable[str]) -> dict[str, tuple[str, ...]]:
    return {each: found.addresses(each) for each in holders}


@pytest.fixture(scope="module")
def colliding() -> list[str]:
    """Three texts whose first choice is the same address."""
    first: dict[tuple[str, ...], list[str]] = {}
    for number in range(5000):
        text = f"shop/x/{number}"
        same = first.setdefault(made([(text, claim(0, text))]).addresses(text), [])
        same.append(text)
        if len(same) == 3:
            return same
    raise AssertionError("no collision")


def test_addresses_are_of_both_families_and_stay_in_their_ranges() -> None:
    v4, v6 = made([("a", claim(0, "shop/a/a.test"))]).addresses("a")
    assert ip_address(v4) in ip_network("240.240.0.0/16")
    assert ip_address(v6) in ip_network("2001:2::/48")
    assert v4 == "240.240.159.132"


def test_without_a_claim_there_is_no_address() -> None:
    found = made([("a", claim(0, "a"))])
    assert found.addresses("b") == ()
    assert found.claim("a", None) == {"a"}
    assert found.addresses("a") == ()
    assert found.claim("a", None) == set()


def test_a_repeated_claim_changes_nothing() -> None:
    found = made([("a", claim(0, "a"))])
    assert found.claim("a", claim(0, "a")) == set()


def test_the_oldest_gets_its_first_choice(colliding: list[str]) -> None:
    claims = [(text, claim(age, text)) for age, text in enumerate(colliding)]
    expected = slots(made(claims), colliding)
    assert expected[colliding[0]] == made(claims[:1]).addresses(colliding[0])
    assert len(set(expected.values())) == 3
    for order in permutations(claims):
        assert slots(made(order), colliding) == expected


def test_an_older_newcomer_is_told_who_moved(colliding: list[str]) -> None:
    found = made([(colliding[0], claim(5, colliding[0]))])
    assert found.claim(colliding[1], claim(1, colliding[1])) == set(colliding[:2])


def test_when_the_oldest_goes_those_that_gave_way_move_back(colliding: list[str]) -> None:
    claims = [(text, claim(age, text)) for age, text in enumerate(colliding)]
    found = made(claims)
    moved = found.claim(colliding[0], None)
    assert colliding[1] in moved
    assert slots(found, colliding[1:]) == slots(made(claims[1:]), colliding[1:])


def test_a_changed_claim_gives_its_address_back() -> None:
    found = made([("a", claim(0, "one")), ("b", claim(1, "x"))])
    before = found.addresses("a")
    assert found.claim("a", claim(0, "two")) == {"a"}
    assert found.addresses("a") != before
    assert found.addresses("a") == made([("a", claim(0, "two"))]).addresses("a")


def test_when_the_range_is_used_up_the_youngest_go_without() -> None:
    found: AutoAddresses[int] = AutoAddresses()
    for number in range(2**16 - 2):
        found.claim(number, claim(number, str(number)))
    found.claim(-1, claim(10**6, "one more"))
    assert found.addresses(-1) == ()
    last = 2**16 - 3
    before = found.addresses(last)
    assert found.claim(-2, claim(-1, "the oldest")) >= {-2, last}
    assert found.addresses(last) == ()
    found.claim(-2, None)
    assert found.addresses(last) == before
    found.claim(-1, None)
    assert found.addresses(-1) == ()

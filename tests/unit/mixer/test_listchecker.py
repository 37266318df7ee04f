"""Adapter listchecker (mixer.md G.1; checklist 37)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from istio.mixer.adapter.list.config.config_pb2 import Params
from mast.mixer.adapters import listchecker
from mast.mixer.adapters.listchecker import Fetched, Listchecker, ListState
from mast.mixer.adapters.lists import parsed
from mast.mixer.core.adapter import AdapterError, HandlerConfig, Instance
from mast.mixer.core.engine import Status
from mast.mixer.core.values import Value
from tests.support.mixer_config import Clock

URL = "http://lists.example/l"


class Provider:
    """Serves one answer, or none."""

    def __init__(self, answer: Fetched | None) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def __call__(self, url: str) -> Fetched:
        self.asked.append(url)
        if self.answer is None:
            raise OSError("no route")
        return self.answer


def config(**params: Any) -> HandlerConfig:
    merged = Params()
    merged.CopyFrom(listchecker.adapter(Provider(None), Clock()).defaults)  # type: ignore[arg-type]
    return HandlerConfig("h", "listchecker", ParseDict(params, merged))


def checker(**params: Any) -> Listchecker:
    return Listchecker(config(**params).params, Provider(None), Clock())


def verdict(handler: Listchecker, value: Value) -> Status:
    return handler.check(Instance("i", "listentry", {"value": value})).status


@pytest.mark.parametrize(
    ("kind", "entries", "inside", "outside"),
    [
        ("STRINGS", ["a", "b"], ["a", "b"], ["A", "ab", ""]),
        ("CASE_INSENSITIVE_STRINGS", ["a", "ÄB"], ["a", "A", "äb"], ["ab"]),
        ("REGEX", ["b+", "^x$"], ["abbc", "x"], ["ac", "xx"]),
        ("IP_ADDRESSES", ["10.0.0.0/8", "1.2.3.4", "2001:db8::/32"],
         ["10.9.8.7", "1.2.3.4", "2001:db8::1"], ["1.2.3.5", "11.0.0.1", "::1"]),
    ],
)  # fmt: skip
def test_lists(kind: str, entries: list[str], inside: list[str], outside: list[str]) -> None:
    white = checker(entry_type=kind, overrides=entries)
    black = checker(entry_type=kind, overrides=entries, blacklist=True)
    for symbol in inside:
        assert verdict(white, symbol) == Status()
        assert verdict(black, symbol) == Status(7, f"{symbol} is blacklisted")
    for symbol in outside:
        assert verdict(white, symbol) == Status(7, f"{symbol} is not whitelisted")
        assert verdict(black, symbol) == Status()


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("IP_ADDRESSES", "x", "x is not a valid IP address"),
        ("IP_ADDRESSES", 7, "7 is not a valid string or IP address"),
        ("STRINGS", True, "true is not a valid string or IP address"),
    ],
)
def test_values_that_cannot_be_listed(kind: str, value: Value, message: str) -> None:
    assert verdict(checker(entry_type=kind), value) == Status(3, message)


def test_addresses_come_in_bytes_too() -> None:
    handler = checker(entry_type="IP_ADDRESSES", overrides=["1.2.3.0/24"])
    assert verdict(handler, b"\x01\x02\x03\x04") == Status()
    assert verdict(handler, bytes(10) + b"\xff\xff\x01\x02\x03\x04") == Status()
    assert verdict(checker(overrides=["1.2.3.4"]), b"\x01\x02\x03\x04") == Status()


def test_validity_holds_for_success_and_denial() -> None:
    handler = checker(overrides=["a"], caching_interval="7s", caching_use_count=5)
    for symbol in ("a", "b"):
        result = handler.check(Instance("i", "listentry", {"value": symbol}))
        assert (result.valid_duration, result.valid_use_count) == (timedelta(seconds=7), 5)
    default = checker(overrides=["a"]).check(Instance("i", "listentry", {"value": "a"}))
    assert (default.valid_duration, default.valid_use_count) == (timedelta(seconds=300), 10_000)


@pytest.mark.parametrize(
    ("kind", "body", "inside", "outside"),
    [
        (Params.STRINGS, b"a\nb\n\n", "b", ""),
        (Params.REGEX, b"^a\n", "ab", "ba"),
        (Params.IP_ADDRESSES, b"whitelist: ['1.2.3.4', 10.0.0.0/8]", "10.1.1.1", "1.2.3.5"),
        (Params.IP_ADDRESSES, b"", "9.9.9.9", "1.2.3.5"),
    ],
)
def test_fetched_lists(
    kind: Params.ListEntryType.ValueType, body: bytes, inside: str, outside: str
) -> None:
    entries = parsed(kind, body, ["9.9.9.9"])
    assert entries.has(inside)
    assert entries.has("9.9.9.9")
    assert not entries.has(outside)


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        (Params.STRINGS, b"\xff", "no UTF-8"),
        (Params.REGEX, b"(", r"could not parse regex '\('"),
        (Params.IP_ADDRESSES, b"whitelist: [x]", "'x' does not appear"),
        (Params.IP_ADDRESSES, b"whitelist: {", "could not unmarshal"),
        (Params.IP_ADDRESSES, b"whitelist: 5", "could not unmarshal"),
        (Params.IP_ADDRESSES, b"whitelist: [5]", "could not unmarshal"),
        (Params.IP_ADDRESSES, b"text", "could not unmarshal"),
    ],
)
def test_bad_lists(kind: Params.ListEntryType.ValueType, body: bytes, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        parsed(kind, body, [])


def state(**params: Any) -> ListState:
    return ListState(config(provider_url=URL, ttl="300s", **params).params)


def test_before_the_first_list_checks_are_errors() -> None:
    with pytest.raises(AdapterError) as failed:
        state().current(0)
    assert str(failed.value) == f"list provider '{URL}' is unreachable"


def test_a_list_serves_until_its_time_is_over() -> None:
    kept = state()
    kept.fetched(Fetched(200, b"a"), 0)
    assert kept.current(299.9).has("a")
    with pytest.raises(AdapterError):
        kept.current(300)


def test_an_unchanged_list_only_restarts_the_timer() -> None:
    kept = state()
    kept.fetched(Fetched(200, b"a"), 0)
    entries = kept.current(0)
    kept.fetched(Fetched(200, b"a"), 200)
    assert kept.current(499) is entries


def test_a_changed_list_replaces_the_last_and_keeps_the_overrides() -> None:
    kept = state(overrides=["always"])
    kept.fetched(Fetched(200, b"a"), 0)
    kept.fetched(Fetched(200, b"b"), 1)
    entries = kept.current(1)
    assert (entries.has("a"), entries.has("b"), entries.has("always")) == (False, True, True)


@pytest.mark.parametrize("answer", [Fetched(500, b"b"), Fetched(200, b"\xff")])
def test_a_bad_answer_leaves_the_last_list_until_it_ends(answer: Fetched) -> None:
    kept = state()
    kept.fetched(Fetched(200, b"a"), 0)
    with pytest.raises(ValueError, match="list"):
        kept.fetched(answer, 60)
    assert kept.current(299).has("a")
    with pytest.raises(AdapterError):
        kept.current(300)
    kept.fetched(Fetched(200, b"a"), 400)
    assert kept.current(400).has("a")


async def test_the_list_is_fetched_before_the_first_check() -> None:
    provider, clock = Provider(Fetched(200, b"a")), Clock()
    handler = Listchecker(config(provider_url=URL).params, provider, clock)
    await handler.prepare()
    assert provider.asked == [URL]
    assert verdict(handler, "a") == Status()


async def test_a_provider_that_is_away_is_no_reason_to_fail() -> None:
    handler = Listchecker(config(provider_url=URL).params, Provider(None), Clock())
    await handler.prepare()
    with pytest.raises(AdapterError):
        verdict(handler, "a")


async def test_without_provider_nothing_is_fetched() -> None:
    provider = Provider(None)
    handler = Listchecker(config(overrides=["a"]).params, provider, Clock())
    await handler.prepare()
    await handler.run()
    assert provider.asked == []


@pytest.mark.parametrize(
    ("params", "problems"),
    [
        ({"provider_url": URL}, []),
        ({"provider_url": "/l"}, ["provider_url: '/l' must be an absolute http or https URL"]),
        ({"provider_url": URL, "refresh_interval": "0.5s"},
         ["refresh_interval: must be at least 1s, it is 0.5s"]),
        ({"provider_url": URL, "ttl": "59s"},
         ["ttl: must be at least refresh_interval (60.0s), it is 59.0s"]),
        ({"refresh_interval": "0s"}, []),
        ({"caching_interval": "-1s", "caching_use_count": -1},
         ["caching_interval: must not be negative", "caching_use_count: must not be negative"]),
        ({"entry_type": "REGEX", "overrides": ["("]}, ["overrides: could not parse regex '('"]),
        ({"entry_type": "IP_ADDRESSES", "overrides": ["x"]},
         ["overrides: 'x' does not appear to be an IPv4 or IPv6 network"]),
    ],
)  # fmt: skip
def test_validation(params: dict[str, Any], problems: list[str]) -> None:
    assert listchecker.adapter(Provider(None), Clock()).validate(config(**params)) == problems


def test_the_adapter_builds_handlers() -> None:
    built = listchecker.adapter(Provider(None), Clock()).build(config(overrides=["a"]))
    assert isinstance(built, Listchecker)
    assert verdict(built, "a") == Status()

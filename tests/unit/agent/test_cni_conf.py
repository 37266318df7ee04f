"""The plugin's place in the node's network configuration (C6)."""

from __future__ import annotations

import pytest

from mast.agent.core.cni.conf import (
    BadConf,
    chosen,
    name_of_list,
    parsed,
    text_of,
    with_plugin,
    without_plugin,
)

ENTRY = {"type": "mast-cni", "socket": "/s"}
LIST = '{"name": "net", "cniVersion": "1.0.0", "plugins": [{"type": "bridge"}]}'


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["20-b.conflist", "10-a.conf", "99.txt", ".05-hidden.conflist"], "10-a.conf"),
        (["10-a.json"], "10-a.json"),
        (["notes"], ""),
        ([], ""),
    ],
)
def test_the_first_file_counts(names: list[str], expected: str) -> None:
    assert chosen(names) == expected


def test_a_single_plugin_becomes_a_list() -> None:
    found = parsed('{"name": "net", "cniVersion": "0.4.0", "type": "bridge", "mtu": 1}')
    assert found == {
        "name": "net",
        "cniVersion": "0.4.0",
        "plugins": [{"type": "bridge", "mtu": 1}],
    }
    assert parsed('{"type": "x"}')["cniVersion"] == "0.3.1"
    assert [name_of_list(each) for each in ("a.conf", "a.conflist")] == ["a.conflist"] * 2


def test_the_entry_is_the_last_one_and_once() -> None:
    found = with_plugin(parsed(LIST), ENTRY)
    assert [each["type"] for each in found["plugins"]] == ["bridge", "mast-cni"]
    newer = with_plugin(found, {**ENTRY, "socket": "/t"})
    assert newer["plugins"][1:] == [{**ENTRY, "socket": "/t"}]
    assert without_plugin(newer) == parsed(LIST)
    assert parsed(text_of(newer)) == newer


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", "not an object"),
        ("{}", "neither plugins"),
        ('{"plugins": [1]}', "plugins: not a list of objects"),
    ],
)
def test_what_is_no_configuration(text: str, complaint: str) -> None:
    with pytest.raises(BadConf, match=complaint):
        parsed(text)

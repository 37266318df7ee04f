"""How a story is told, to people and to programs."""

from __future__ import annotations

from mast.cli.explain.story import Cause, Story

RULE = Cause("VirtualService", "shop", "web", "spec.http[0]", "web.yaml:7")


def story() -> Story:
    made = Story(status=404, clusters={"a": 100 / 3})
    made.tell("address", "web at 10.0.0.1")
    made.tell("route", "none", ["not number 1: path is not /a"], [RULE, Cause("", "", "mesh")])
    return made


def test_text() -> None:
    assert story().text() == (
        "1. address  web at 10.0.0.1\n"
        "2. route    none\n"
        "            not number 1: path is not /a\n"
        "            <- VirtualService shop/web spec.http[0] (web.yaml:7)\n"
        "            <- mesh\n"
    )


def test_data() -> None:
    assert story().data() == {
        "status": 404,
        "clusters": [{"name": "a", "percent": 33.333}],
        "steps": [
            {"step": "address", "result": "web at 10.0.0.1", "details": [], "causes": []},
            {
                "step": "route",
                "result": "none",
                "details": ["not number 1: path is not /a"],
                "causes": [
                    {
                        "kind": "VirtualService",
                        "namespace": "shop",
                        "name": "web",
                        "field": "spec.http[0]",
                        "where": "web.yaml:7",
                    },
                    {"name": "mesh"},
                ],
            },
        ],
    }


def test_nothing_to_tell() -> None:
    assert Story().text() == "\n"

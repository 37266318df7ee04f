"""What a user wants: files over files, --set over them, flags over all."""

from __future__ import annotations

from pathlib import Path

import pytest

from mast.cli.errors import CommandError
from mast.cli.install.chart import Chart, loaded
from mast.cli.install.values import at, merged, value_at
from mast.cli.install.wishes import Wishes, wishes


@pytest.fixture(scope="module")
def chart() -> Chart:
    return loaded(None)


def test_what_lies_over_what(tmp_path: Path, chart: Chart) -> None:
    values, operator, empty = (tmp_path / name for name in ("v.yaml", "o.yaml", "e.yaml"))
    values.write_text("{pilot: {replicaCount: 1, autoscaleMin: 1, traceSampling: 1}, mixer: {}}")
    operator.write_text(
        "{apiVersion: install.istio.io/v1alpha1, kind: IstioOperator, spec: {profile: demo,"
        " revision: one, values: {pilot: {replicaCount: 2, autoscaleMin: 2}}}}"
    )
    empty.write_text("# nothing\n")
    settings = ["pilot.autoscaleMin=3,a.b={x,y}", "values.global.hub=here", "hub=there"]
    settings += ["components.cni.enabled=true", "meshConfig.accessLogFile=/dev/stdout"]
    found = wishes([values, operator, empty], settings, revision="two", chart=chart)
    assert found == Wishes(
        "demo",
        {
            "pilot": {"replicaCount": 2, "autoscaleMin": 3, "traceSampling": 1},
            "mixer": {},
            "a": {"b": ["x", "y"]},
            "global": {"hub": "there"},
            "cni": {"enabled": True},
            "meshConfig": {"accessLogFile": "/dev/stdout"},
            "revision": "two",
        },
    )
    assert found.revision == "two"
    assert wishes([], ["profile=ha"], chart=chart).profile == "ha"
    assert wishes([operator], [], profile="minimal", chart=chart).profile == "minimal"
    assert Wishes().revision == "default"


def test_what_was_is_kept_below() -> None:
    before = Wishes("ha", {"a": {"x": 1, "y": 1}})
    assert Wishes("", {"a": {"x": 2}}).over(before) == Wishes("ha", {"a": {"x": 2, "y": 1}})
    assert Wishes("demo").over(before).profile == "demo"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "cannot read "),
        (b"\xff", "cannot read "),
        (b"a: [", "file.yaml: while parsing"),
        (b"- 1", "file.yaml: want values, or one IstioOperator"),
        (b"{kind: IstioOperator, spec: {x: 1}}", "file.yaml: spec.x: there is no value for it"),
    ],
)
def test_files_that_say_nothing(
    tmp_path: Path, chart: Chart, text: bytes | None, problem: str
) -> None:
    file = tmp_path / "file.yaml"
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(CommandError) as refused:
        wishes([file], [], chart=chart)
    assert problem in str(refused.value)


def test_trees() -> None:
    below = {"a": {"b": 1, "c": [1]}, "d": None}
    assert merged(below, {"a": {"c": [2]}, "d": {"e": 1}}) == {
        "a": {"b": 1, "c": [2]},
        "d": {"e": 1},
    }
    assert below == {"a": {"b": 1, "c": [1]}, "d": None}
    assert at(("a", "b"), 1) == {"a": {"b": 1}}
    assert (value_at(below, "a", "b"), value_at(below, "a", "b", "c")) == (1, None)

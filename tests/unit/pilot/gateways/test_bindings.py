"""Hosts of Gateway servers and of VirtualServices (pilot.md I2, F8)."""

import pytest

from mast.pilot.core.gateways.bindings import Binding, binding, common_hosts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.test", Binding("*", "a.test")),
        ("*", Binding("*", "*")),
        ("*/a.test", Binding("*", "a.test")),
        ("./*.a.test", Binding("edge", "*.a.test")),
        ("shop/a.test", Binding("shop", "a.test")),
    ],
)
def test_binding(text: str, expected: Binding) -> None:
    assert binding(text, "edge") == expected


@pytest.mark.parametrize(
    ("servers", "names", "expected"),
    [
        pytest.param(["a.test"], ["a.test"], ("a.test",), id="equal"),
        pytest.param(["*.test"], ["a.test", "b.test"], ("a.test", "b.test"), id="server-is-wider"),
        pytest.param(["a.test", "b.test"], ["*"], ("a.test", "b.test"), id="service-is-wider"),
        pytest.param(["*.a.test"], ["*.test"], ("*.a.test",), id="both-wildcards"),
        pytest.param(["A.test"], ["a.test"], ("a.test",), id="case"),
        pytest.param(["a.test"], ["b.test"], (), id="nothing"),
        pytest.param(["*.a.test"], ["a.test"], (), id="wildcards-do-not-cover-the-parent"),
        pytest.param(["other/a.test", "*.test"], ["a.test"], ("a.test",), id="namespaces"),
        pytest.param(["other/*"], ["a.test"], (), id="of-another-namespace"),
        pytest.param(["*", "*.test"], ["a.test"], ("a.test",), id="once"),
    ],
)
def test_common_hosts(servers: list[str], names: list[str], expected: tuple[str, ...]) -> None:
    bindings = [binding(each, "edge") for each in servers]
    assert common_hosts(bindings, names, "shop") == expected

"""The routing table (mixer.md A17, A19; what faces may leave out)."""

from __future__ import annotations

from mast.mixer.core.dispatch import SELECTORS, Routing
from mast.mixer.core.engine import Reads
from mast.mixer.core.templates import Variety
from tests.support.mixer_config import TELEMETRY, Rig
from tests.unit.mixer.test_check import action, handler, listentry, rig, rule


def test_destinations_are_shared_by_rules() -> None:
    """A19, A22: one call of a report for each."""
    built = rig(
        handler("h"),
        listentry("i", "a"),
        rule("r", action("h", "i")),
        rule("s", action("h", "i"), namespace="istio-system"),
    )
    one, two = built.routing.routes(Variety.CHECK, "")
    assert one.dispatches[0].destination is two.dispatches[0].destination


def test_actions_of_handlers_that_were_not_built_are_left_out() -> None:
    """D9."""
    built = rig(handler("h"), handler("k"), rule("r", action("h") + ", " + action("k")))
    kept = {"k.handler.istio-system": built.handlers["k.handler.istio-system"]}
    routing = Routing(built.snapshot, kept, "istio-system")
    (route,) = routing.routes(Variety.CHECK, "")
    assert [each.destination.shown for each in route.dispatches] == ["k.istio-system"]
    assert Routing(built.snapshot, {}, "istio-system").routes(Variety.CHECK, "") == ()


def test_a_rule_is_in_the_tables_of_its_varieties_only() -> None:
    """A19."""
    built = rig(handler("h"), rule("r", action("h")))
    assert built.routing.routes(Variety.CHECK, "")
    assert not built.routing.routes(Variety.REPORT, "")


def test_reads_tell_what_requests_can_depend_on() -> None:
    built = rig(
        handler("h"),
        listentry("i", 'm["k"] | b'),
        rule("r", action("h", "i"), match='a == "x"',
             more=", requestHeaderOperations: [{name: x, values: [c]}]"),
        rule("s", action("h.istio-system"), match='m["other"] == ""', namespace="shop"),
    )  # fmt: skip
    assert built.routing.reads(Variety.CHECK) == Reads(
        frozenset({*SELECTORS, "a", "b", "c"}), {"m": frozenset({"k", "other"})}
    )
    assert built.routing.reads(Variety.CHECK).attributes == {*SELECTORS, "a", "b", "c", "m"}
    assert built.routing.reads(Variety.REPORT) == Reads(frozenset(SELECTORS))


def test_reads_of_the_default_telemetry() -> None:
    reads = Rig(TELEMETRY).routing.reads(Variety.ATTRIBUTE_GENERATOR, Variety.REPORT)
    assert "response.duration" in reads
    assert "source.labels" in reads
    assert "request.path" not in reads
    assert reads.keys["source.labels"] == {"app", "version"}
    assert "$out.source_ip" not in reads.names

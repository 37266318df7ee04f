"""Any configuration compiles to what serves and a list of problems (mixer.md D7)."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import ParseDict
from hypothesis import given, settings
from hypothesis import strategies as st

from istio.policy.v1beta1 import cfg_pb2
from mast.common.kinds import LEGACY_ADAPTERS, LEGACY_TEMPLATES
from mast.mixer.core.config.entry import Entry
from mast.mixer.core.config.snapshot import compile_snapshot
from mast.mixer.core.dispatch import Routing
from mast.mixer.core.templates import TEMPLATES
from tests.support.mixer_config import TELEMETRY, Rig, entries

RIG = Rig(TELEMETRY)
BASE = entries(TELEMETRY)

names = st.sampled_from(["a", "b", "a.b", "a.b.c", "a.b.c.d", "", "prometheus", "requestcount",
                         "a.metric", "a.istio-system", "nothing"])  # fmt: skip
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["5s", "-1s", "0s", "IP_ADDRESSES", "REGEX", "(", "http://[", "/x", "FILE",
                     'source.labels["x"]', "1 +", "request.time", "DISTRIBUTION", "COUNTER"]),
    st.text(max_size=8),
)  # fmt: skip
keys = st.sampled_from(
    ["value", "dimensions", "variables", "timestamp", "severity", "subject", "action", "user",
     "properties", "name", "quotas", "maxAmount", "max_amount", "validDuration", "overrides",
     "metrics", "instance_name", "kind", "label_names", "buckets", "explicit_buckets", "bounds",
     "linear_buckets", "num_finite_buckets", "width", "metricsExpirationPolicy",
     "metrics_expiry_duration", "providerUrl", "refreshInterval", "ttl", "entryType", "blacklist",
     "logStream", "outputPath", "severityLevels", "status", "code", "details", "source_uid",
     "attribute_bindings", "caching_use_count", "min_deduplication_duration", "x"]
)  # fmt: skip
params = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(keys, params, max_size=5)


def struct(value: dict[str, Any]) -> Any:
    return ParseDict(value, cfg_pb2.Instance().params.__class__())


@st.composite
def wild(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(["instance", "handler", "rule", "legacy"]))
    name, namespace = draw(st.sampled_from("ab")), draw(st.sampled_from(["istio-system", "b"]))
    if kind == "legacy":
        legacy = draw(st.sampled_from(sorted({**LEGACY_ADAPTERS, **LEGACY_TEMPLATES})))
        return Entry(legacy, namespace, name, struct(draw(objects)))
    if kind == "instance":
        instance = cfg_pb2.Instance(
            compiled_template=draw(st.sampled_from([*TEMPLATES, "none", ""])),
            params=struct(draw(objects)),
            attribute_bindings=draw(
                st.dictionaries(st.sampled_from(["source.ip", "source.name", "x"]),
                                st.text(max_size=5) | st.just("$out.source_pod_name"), max_size=2)
            ),
        )  # fmt: skip
        return Entry(kind, namespace, name, instance)
    if kind == "handler":
        handler = cfg_pb2.Handler(
            compiled_adapter=draw(st.sampled_from([*RIG.adapters, "none", ""])),
            params=struct(draw(objects)),
        )
        return Entry(kind, namespace, name, handler)
    rule = cfg_pb2.Rule(
        match=draw(st.sampled_from(["", "true", "response.code", "x"]) | st.text(max_size=10)),
        actions=[
            cfg_pb2.Action(handler=draw(names), instances=draw(st.lists(names, max_size=3)))
            for _ in range(draw(st.integers(0, 2)))
        ],
    )
    return Entry(kind, namespace, name, rule)


def unique(found: list[Entry]) -> list[Entry]:
    return list({each.fqn: each for each in [*BASE, *found]}.values())


@settings(max_examples=300, deadline=None)
@given(st.lists(wild(), max_size=8))
def test_any_configuration_compiles(found: list[Entry]) -> None:
    """D7, L26: a bad object hurts only itself."""
    snapshot = compile_snapshot(unique(found), TEMPLATES, RIG.adapters)
    assert all(problem.text for problem in snapshot.problems)
    # What others wrote serves all the same: rules of the telemetry that nothing touched.
    rules = {rule.fqn for rule in snapshot.rules}
    assert {"promhttp.rule.istio-system", "promtcp.rule.istio-system"} <= rules
    for used in snapshot.handlers.values():
        assert not used.handler.adapter.validate(used.config)
    assert Routing(snapshot, dict.fromkeys(snapshot.handlers, object()), "istio-system").id == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(wild(), max_size=6), st.randoms())
def test_the_order_of_objects_does_not_matter(found: list[Entry], random: Any) -> None:
    """D10, A24: replicas compile the same."""
    objects = unique(found)
    first = compile_snapshot(objects, TEMPLATES, RIG.adapters)
    random.shuffle(objects)
    second = compile_snapshot(objects, TEMPLATES, RIG.adapters)
    assert first.problems == second.problems
    assert [rule.fqn for rule in first.rules] == [rule.fqn for rule in second.rules]
    signatures = [
        {fqn: used.signature for fqn, used in each.handlers.items()} for each in (first, second)
    ]
    assert signatures[0] == signatures[1]

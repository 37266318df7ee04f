"""Injection for any pod: patches say what the result is, twice is once, nothing breaks it.

`python -m tests.fuzz --of injector` draws more pods; MAST_PARSER_CASES says how many of each.
"""

from __future__ import annotations

import copy
import json
import os
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from mast.galley.core.injection.annotations import RULES
from mast.galley.core.injection.json_patch import difference
from mast.galley.core.injection.pod import injected, patch
from mast.galley.core.injection.refusal import InjectionRefused
from mast.galley.core.injection.settings import settings

CASES = int(os.environ.get("MAST_PARSER_CASES", "100"))
many = examples(max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

SCALARS = st.none() | st.booleans() | st.integers(-5, 70000) | st.text(max_size=6)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "a/b", "~", "", "c"]), TREES, max_size=5)

NAMES = st.sampled_from(["web", "cache", "istio-proxy", "istio-init", "late"])
PORTS = st.integers(1, 65535) | st.sampled_from(["http", "admin"])
TIMES = st.fixed_dictionaries({}, optional={"timeoutSeconds": st.integers(1, 9)})
ACTIONS = st.one_of(
    st.builds(lambda port: {"httpGet": {"path": "/x", "port": port, "scheme": "HTTPS"}}, PORTS),
    st.builds(lambda port: {"tcpSocket": {"port": port}}, PORTS),
    st.builds(lambda port: {"grpc": {"port": port, "service": "s"}}, st.integers(1, 65535)),
    st.just({"exec": {"command": ["true"]}}),
)
PROBES = st.builds(lambda action, times: {**action, **times}, ACTIONS, TIMES)
HOOKS = st.dictionaries(st.sampled_from(["preStop", "postStart"]), ACTIONS, max_size=2)
CONTAINERS = st.fixed_dictionaries(
    {"name": NAMES, "image": st.sampled_from(["auto", "example.com/web:1"])},
    optional={
        "ports": st.just([{"name": "http", "containerPort": 8080}, {"containerPort": 9090}]),
        "readinessProbe": PROBES,
        "livenessProbe": PROBES,
        "startupProbe": PROBES,
        "lifecycle": HOOKS,
        "env": st.just([{"name": "A", "value": "1"}]),
    },
)


SPECS = st.builds(
    lambda containers, inits: {
        "containers": containers[inits:],
        "initContainers": containers[:inits],
    },
    st.lists(CONTAINERS, min_size=2, max_size=5, unique_by=lambda each: str(each["name"])),
    st.integers(0, 1),
)


ANNOTATIONS = st.fixed_dictionaries(
    {},
    optional={
        "sidecar.istio.io/nativeSidecar": st.sampled_from(["true", "false"]),
        "sidecar.istio.io/interceptionMode": st.sampled_from(["REDIRECT", "TPROXY", "NONE"]),
        "inject.istio.io/templates": st.sampled_from(
            ["sidecar", "gateway", "grpc-agent", "grpc-simple", "sidecar,own", "own"]
        ),
        "traffic.sidecar.istio.io/excludeInboundPorts": st.sampled_from(["", "22", "15021,22"]),
        "prometheus.io/scrape": st.sampled_from(["true", "false"]),
        "prometheus.io/port": st.sampled_from(["80", "15020", "15090"]),
        "prometheus.io/path": st.sampled_from(["/own", "/stats/prometheus"]),
        "status.sidecar.istio.io/port": st.sampled_from(["0", "15030"]),
    },
)
PODS = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"name": st.just("web-1"), "annotations": ANNOTATIONS},
            optional={"labels": st.just({"app": "web"})},
        ),
        "spec": st.builds(
            lambda spec, volumes: {**spec, **volumes},
            SPECS,
            st.sampled_from([{}, {"volumes": [{"name": "own", "emptyDir": {}}]}]),
        ),
    }
)
SETTINGS = [
    settings(values={"pilot": {"cni": {"enabled": cni}}}, injector=injector)
    for cni in (False, True)
    for injector in (
        {"templates": {"own": {"spec": {"containers": [{"name": "istio-proxy", "tty": True}]}}}},
    )
]


def applied(before: Any, operations: list[dict[str, Any]]) -> Any:
    """A JSON patch, carried out as RFC 6902 says it is."""
    result = json.loads(json.dumps(before))  # nothing in it is shared
    for each in operations:
        *path, last = [part.replace("~1", "/").replace("~0", "~") for part in
                       each["path"].split("/")[1:]]  # fmt: skip
        target = result
        for part in path:
            target = target[int(part)] if isinstance(target, list) else target[part]
        if isinstance(target, list):
            index = int(last)
            assert index <= len(target) if each["op"] == "add" else index < len(target)
            match each["op"]:
                case "add":
                    target.insert(index, each["value"])
                case "replace":
                    target[index] = each["value"]
                case _:
                    del target[index]
        elif each["op"] == "remove":
            del target[last]
        else:
            assert each["op"] == "add" or last in target
            target[last] = each["value"]
    return result


@many
@given(OBJECTS, OBJECTS)
def test_a_difference_leads_from_one_to_the_other(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    found = applied(before, difference(before, after))
    assert json.dumps(found, sort_keys=True) == json.dumps(after, sort_keys=True)
    assert difference(after, after) == []


@many
@given(PODS, st.sampled_from(SETTINGS))
def test_twice_is_once_and_the_patch_says_it(pod: dict[str, Any], using: Any) -> None:
    before = copy.deepcopy(pod)
    made = injected(pod, using, namespace="shop")
    assert pod == before
    assert injected(made, using, namespace="shop") == made
    assert applied(pod, list(patch(pod, using, namespace="shop").operations)) == made


FIELDS = st.sampled_from(
    ["metadata", "labels", "annotations", "spec", "containers", "initContainers", "volumes", "env",
     "name", "ports", "containerPort", "livenessProbe", "httpGet", "port", "lifecycle", "preStop",
     "sidecar.istio.io/status", "proxy.istio.io/overrides", "proxy.istio.io/config",
     "ownerReferences", "securityContext", "value"]
)  # fmt: skip
TEXTS = st.sampled_from(["istio-proxy", "{}", "[]", '{"containers":["a"]}', "PROXY_CONFIG", "1"])
HOSTILE = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=30,
)
CONTAINER = st.dictionaries(FIELDS, HOSTILE, max_size=4).map(lambda d: {"name": "a", **d})


@many
@given(
    HOSTILE
    | st.fixed_dictionaries(
        {"spec": st.fixed_dictionaries({"containers": st.lists(CONTAINER, max_size=2)})},
        optional={"metadata": st.dictionaries(FIELDS, HOSTILE, max_size=4)},
    )
)
def test_whatever_comes_is_injected_or_refused(pod: Any) -> None:
    try:
        problems: tuple[str, ...] = ()
        operations = patch(pod, SETTINGS[0], namespace="shop").operations
    except InjectionRefused as error:
        operations, problems = (), error.problems
    assert bool(operations) is not bool(problems)


WORDS = st.text(max_size=12) | st.text('0123456789.,:*/-{}[]"ams²٣', max_size=12) | TEXTS


@many
@given(st.dictionaries(st.sampled_from([*RULES, "proxy.istio.io/config", "prometheus.io/port"]),
                       WORDS, min_size=1, max_size=4))  # fmt: skip
def test_whatever_annotations_say(annotations: dict[str, str]) -> None:
    pod = {
        "metadata": {"annotations": annotations},
        "spec": {"containers": [{"name": "web", "readinessProbe": {"grpc": {"port": 1}}}]},
    }
    problems: tuple[str, ...] = ()
    made: dict[str, Any] = {}
    try:
        made = injected(pod, SETTINGS[0], namespace="shop")
    except InjectionRefused as error:
        problems = error.problems
    assert all(each.startswith(("annotation ", "variable ")) for each in problems)
    assert problems or injected(made, SETTINGS[0], namespace="shop") == made

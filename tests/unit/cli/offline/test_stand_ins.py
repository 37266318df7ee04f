"""What a cluster would add to manifests: Pods, addresses, sidecars, EndpointSlices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from mast.cli.offline.stand_ins import Objects, Template, completed
from mast.galley.core.discovery.objects import (
    Backend,
    Item,
    Namespace,
    ObjectName,
    Pod,
    Readiness,
    Service,
    ServicePort,
    Slice,
    SliceId,
)

WEB = ObjectName("shop", "web")
HTTP = ServicePort(name="http", number=80, target="web")
SERVICE = Service(id=WEB, selector={"app": "web"}, ports=(HTTP,))
POD = Pod(id=ObjectName("shop", "web-1"), labels={"app": "web"}, ports={"web": 8080})
RUNNING = replace(POD, addresses=("10.1.0.1",), readiness=Readiness.READY)
TLS = "security.istio.io/tlsMode"


def of(found: Iterable[Item], kind: type) -> list[object]:
    return [each for each in found if isinstance(each, kind)]


def pods(objects: Objects) -> list[Pod]:
    return [each for each in completed(objects) if isinstance(each, Pod)]


def backends(*items: Item) -> tuple[Backend, ...]:
    (found,) = (each for each in completed(Objects(list(items))) if isinstance(each, Slice))
    return found.backends


def test_a_controller_without_a_pod_gets_one() -> None:
    (made,) = pods(Objects(templates=[Template(POD, {"app": "web"})]))
    assert made == replace(
        POD,
        addresses=("198.19.0.1",),
        readiness=Readiness.READY,
        labels={"app": "web", TLS: "istio"},
    )


@pytest.mark.parametrize(
    ("pod", "count"),
    [
        pytest.param(RUNNING, 1, id="its-own"),
        pytest.param(replace(RUNNING, labels={"app": "api"}), 2, id="another"),
        pytest.param(replace(RUNNING, id=ObjectName("test", "web-1")), 2, id="elsewhere"),
    ],
)
def test_a_controller_with_a_pod_gets_none(pod: Pod, count: int) -> None:
    template = Template(replace(POD, id=WEB), {"app": "web"})
    assert len(pods(Objects([pod], [template]))) == count


def test_addresses_that_somebody_has_are_not_given_again() -> None:
    taken = replace(RUNNING, id=ObjectName("shop", "a"), addresses=("198.19.0.1",))
    found = pods(Objects([taken, POD], fresh={POD.id}))
    assert [each.addresses for each in found] == [("198.19.0.1",), ("198.19.0.2",)]
    services = [
        replace(SERVICE, id=ObjectName("shop", "a"), addresses=("198.18.0.1", "fd00::1")),
        SERVICE,
        replace(SERVICE, id=ObjectName("shop", "headless"), headless=True),
        replace(SERVICE, id=ObjectName("shop", "alias"), alias_of="example.com"),
    ]
    found_services = of(completed(Objects(list(services))), Service)
    assert found_services == [
        services[0],
        replace(SERVICE, addresses=("198.18.0.2",)),
        *services[2:],
    ]


def test_pods_of_a_cluster_stay_as_they_are() -> None:
    waiting = replace(POD, id=ObjectName("shop", "web-2"))
    assert pods(Objects([RUNNING, waiting])) == [RUNNING, waiting]


@pytest.mark.parametrize(
    ("labels", "annotations", "namespace", "injected"),
    [
        pytest.param({}, {}, None, True, id="namespace-unknown"),
        pytest.param({}, {}, {}, False, id="namespace-without-label"),
        pytest.param({}, {}, {"istio-injection": "enabled"}, True, id="namespace"),
        pytest.param({}, {}, {"istio-injection": "disabled"}, False, id="namespace-disabled"),
        pytest.param({}, {}, {"istio.io/rev": "a"}, True, id="revision"),
        pytest.param({"istio.io/rev": "a"}, {}, {}, True, id="revision-of-the-pod"),
        pytest.param({"sidecar.istio.io/inject": "true"}, {}, {}, True, id="pod"),
        pytest.param({"sidecar.istio.io/inject": "false"}, {}, None, False, id="pod-not"),
        pytest.param(
            {"sidecar.istio.io/inject": "true"},
            {},
            {"istio-injection": "disabled"},
            False,
            id="namespace-before-pod",
        ),
        pytest.param({}, {"sidecar.istio.io/inject": "false"}, None, False, id="annotation"),
        pytest.param(
            {"sidecar.istio.io/inject": "maybe"}, {}, {"istio-injection": "enabled"}, True, id="odd"
        ),
        pytest.param({TLS: "disabled"}, {}, None, False, id="own-mode"),
    ],
)
def test_sidecars(
    labels: dict[str, str],
    annotations: dict[str, str],
    namespace: dict[str, str] | None,
    injected: bool,
) -> None:
    pod = replace(POD, labels=labels, annotations=annotations)
    items: list[Item] = [pod]
    if namespace is not None:
        items.append(Namespace(id=ObjectName("", "shop"), labels=namespace))
    (made,) = pods(Objects(items, fresh={pod.id}))
    assert (made.labels.get(TLS) == "istio") is injected


def test_pods_on_the_network_of_their_node_have_no_sidecar() -> None:
    pod = replace(POD, on_host_network=True)
    (made,) = pods(Objects([pod], fresh={pod.id}))
    assert TLS not in made.labels


def test_a_selector_stands_for_a_slice() -> None:
    others = [
        replace(RUNNING, id=ObjectName("shop", "other"), labels={}),
        replace(RUNNING, id=ObjectName("test", "web-1")),
        replace(RUNNING, id=ObjectName("shop", "done"), finished=True),
        replace(RUNNING, id=ObjectName("shop", "unserved"), ports={}),
    ]
    assert backends(SERVICE, *others, RUNNING) == (
        Backend(address="10.1.0.1", ports=(("http", 8080),), pod=RUNNING.id),
    )


@pytest.mark.parametrize(
    ("target", "number"),
    [
        pytest.param("web", 8080, id="name"),
        pytest.param(9000, 9000, id="number"),
        pytest.param(0, 80, id="same"),
    ],
)
def test_ports_of_slices(target: int | str, number: int) -> None:
    service = replace(SERVICE, ports=(replace(HTTP, target=target),))
    (found,) = backends(service, RUNNING)
    assert found.ports == (("http", number),)


@pytest.mark.parametrize(
    ("service", "addresses"),
    [
        pytest.param(replace(SERVICE, addresses=("10.0.0.9",)), ["10.1.0.1"], id="v4"),
        pytest.param(replace(SERVICE, addresses=("fd00::9",)), ["fd00::1"], id="v6"),
        pytest.param(
            replace(SERVICE, addresses=("10.0.0.9", "fd00::9")), ["10.1.0.1", "fd00::1"], id="dual"
        ),
        pytest.param(replace(SERVICE, headless=True), ["10.1.0.1"], id="headless"),
    ],
)
def test_families_of_slices(service: Service, addresses: list[str]) -> None:
    pod = replace(RUNNING, addresses=("10.1.0.1", "fd00::1"))
    assert [each.address for each in backends(service, pod)] == addresses


@pytest.mark.parametrize(
    ("readiness", "publish", "expected"),
    [
        (Readiness.READY, False, Readiness.READY),
        (Readiness.NOT_READY, False, Readiness.NOT_READY),
        (Readiness.NOT_READY, True, Readiness.READY),
        (Readiness.TERMINATING, True, Readiness.TERMINATING),
    ],
)
def test_readiness_of_slices(readiness: Readiness, publish: bool, expected: Readiness) -> None:
    service = replace(SERVICE, publish_not_ready=publish)
    (found,) = backends(service, replace(RUNNING, readiness=readiness))
    assert found.readiness is expected


def test_services_keep_the_slices_that_they_have() -> None:
    own = Slice(id=SliceId("EndpointSlice", "shop", "web-a"), service=WEB)
    assert of(completed(Objects([SERVICE, RUNNING, own])), Slice) == [own]
    without = replace(SERVICE, selector={})
    assert of(completed(Objects([without, RUNNING])), Slice) == []

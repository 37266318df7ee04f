"""A second revision beside a control plane: its values, and a Citadel that knows it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from mast.cli.install import beside
from mast.cli.install.release import Release
from tests.support.chart import NAMESPACE, Object, chart, merged, name_of, named, rendered

DOCUMENT = Path(__file__).parents[4] / "docs" / "install.md"


def citadel(values: Object) -> Object:
    return named(rendered(values), "Deployment/istio-citadel")


def values(given: Object, first: Release | None) -> Object:
    services = {name_of(each).partition("/")[2] for each in rendered(given)
                if each["kind"] == "Service"}  # fmt: skip
    gateways = chart().values["gateways"]
    return beside.values(
        citadel(given), first, services=services, gateways=gateways, namespace=NAMESPACE
    )


def release(given: Object, objects: Iterable[Object] = ()) -> Release:
    return Release(
        name="mast",
        namespace=NAMESPACE,
        revision="default",
        profile="default",
        chart="mast",
        version="0.0.9",
        values=given,
        objects=list(objects),
        definitions={},
    )


def test_it_is_what_the_document_says() -> None:
    text = DOCUMENT.read_text()
    documented = yaml.safe_load(text[text.index("revision: canary") :].partition("```")[0])
    made = merged(values({}, None), {"revision": "canary"})
    assert rendered(made) == rendered(documented)


def test_what_counts_for_every_revision_is_taken_over() -> None:
    given: dict[str, Any] = {
        "global": {
            "tag": "0.0.9",
            "hub": "here",
            "trustDomain": "example.org",
            "proxy": {"clusterDomain": "k8s.local"},
            "multiCluster": {"clusterName": "east"},
        },
        "meshConfig": {"accessLogFile": "/dev/stdout"},
        "pilot": {"traceSampling": 9},
        "mixer": {"policy": {"enabled": False}},
        "cni": {"enabled": True},
        "etcd": {"root": "/other"},
    }
    made = values(given, release(given))
    assert made["global"] == {
        "hub": "here",
        "trustDomain": "example.org",
        "proxy": {"clusterDomain": "k8s.local"},
        "multiCluster": {"clusterName": "east"},
    }
    assert made["meshConfig"] == {
        "accessLogFile": "/dev/stdout",
        "mixerReportServer": "istio-telemetry.istio-system.svc.k8s.local:15004",
    }
    assert made["pilot"] == {"cni": {"enabled": True}}
    assert made["etcd"]["root"] == "/other"
    assert made["etcd"]["external"]["endpoints"][0].startswith("mast-etcd-0.mast-etcd.")
    assert made["etcd"]["external"]["endpoints"][2].endswith(".svc.k8s.local:2379")


def test_citadel_gets_to_know_it_and_forgets_it() -> None:
    """Nothing else of the first one moves, whatever the chart at hand makes of it."""
    first = release({"security": {"customDnsNames": ["a.b:c"]}}, rendered({}))

    def newer(wanted: Release) -> list[Object]:
        return rendered(merged(wanted.values, {"global": {"tag": "9.9.9"}}))

    known = beside.told(first, "canary", newer)
    assert known is not None
    after, deployment = known
    assert after.values["security"]["revisions"] == ["canary"]
    assert beside.flag(deployment, beside.NAMES).startswith("a.b:c,istio-galley-service-account.")
    assert beside.knows(deployment, "canary")
    assert not beside.knows(deployment, "canar")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["image"].endswith(":0.1.0")
    others = [each for each in after.objects if not beside.is_citadel(each)]
    assert others == [each for each in first.objects if not beside.is_citadel(each)]
    assert beside.told(after, "canary", newer) is None
    forgotten = beside.forgotten(after, "canary", newer)
    assert forgotten is not None
    assert not beside.knows(forgotten[1], "canary")
    assert beside.forgotten(first, "canary", newer) is None
    without = release({}, [])
    assert beside.told(without, "canary", lambda _: []) is None

"""Asking for another identity than one's own: every condition fails alone (A4, D6).

Section numbers are those of citadel-and-agent.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from mast.citadel.api.impersonating import Impersonation, node_accounts
from mast.citadel.core.authn import Caller, PodRef
from mast.citadel.core.impersonation import Pod
from mast.citadel.core.refusals import ImpersonationRefused
from mast.citadel.core.reviews import Unreviewable
from mast.common.identity.spiffe import SpiffeId
from tests.unit.citadel.examples import DOMAIN

PROXY = Pod("istio-system", "ztunnel-1", "u1", "ztunnel", "node-1")
REVIEWS = Pod("shop", "reviews-1", "u2", "reviews", "node-1")
TARGET = str(SpiffeId(DOMAIN, "shop", "reviews"))
REF = PodRef("east", "istio-system", "ztunnel", "ztunnel-1", "u1")
CALLER = Caller("Kubernetes token", (f"spiffe://{DOMAIN}/ns/istio-system/sa/ztunnel",), pod=REF)
GALLEY = f"spiffe://{DOMAIN}/ns/istio-system/sa/istio-galley-service-account"


@dataclass
class FakePods:
    """The pods of one cluster, named east; ``silent`` as its API server may be."""

    pods: Sequence[Pod] = (PROXY, REVIEWS)
    silent: bool = False
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def pod(self, cluster: str, namespace: str, name: str) -> Pod | None:
        self._answer(cluster)
        return next((p for p in self.pods if (p.namespace, p.name) == (namespace, name)), None)

    async def pods_on(self, cluster: str, node: str, identity: SpiffeId) -> Sequence[Pod]:
        self._answer(cluster)
        self.asked.append((cluster, node))
        return self.pods

    def _answer(self, cluster: str) -> None:
        if self.silent or cluster != "east":
            raise Unreviewable(f"cluster {cluster!r} is silent")


def impersonation(pods: FakePods | None = None) -> Impersonation:
    return Impersonation(
        DOMAIN,
        registrars=frozenset({GALLEY}),
        nodes=frozenset({("istio-system", "ztunnel")}),
        pods=pods or FakePods(),
    )


async def test_a_nodes_proxy_speaks_for_the_pods_of_its_node() -> None:
    pods = FakePods()
    subject = await impersonation(pods).subject(CALLER, TARGET)
    assert str(subject) == TARGET
    assert pods.asked == [("east", "node-1")]


def changed(**ref: str) -> Caller:
    return replace(CALLER, pod=replace(REF, **ref))


@pytest.mark.parametrize(
    ("caller", "pods", "target", "reason"),
    [
        pytest.param(
            replace(CALLER, pod=None), FakePods(), TARGET, "not allowed", id="not-by-kubernetes"
        ),
        pytest.param(
            changed(service_account="other"), FakePods(), TARGET, "no trusted", id="account"
        ),
        pytest.param(
            changed(namespace="shop"), FakePods(), TARGET, "no trusted", id="account-elsewhere"
        ),
        pytest.param(changed(name=""), FakePods(), TARGET, "bound to no pod", id="no-pod-name"),
        pytest.param(changed(uid=""), FakePods(), TARGET, "bound to no pod", id="no-pod-uid"),
        pytest.param(
            CALLER, FakePods([REVIEWS]), TARGET, "does not exist", id="pod-does-not-exist"
        ),
        pytest.param(changed(uid="u9"), FakePods(), TARGET, "another one", id="pod-of-another-uid"),
        pytest.param(
            CALLER,
            FakePods([replace(PROXY, service_account="default"), REVIEWS]),
            TARGET,
            "runs as default",
            id="pod-of-another-account",
        ),
        pytest.param(
            CALLER, FakePods([replace(PROXY, node=""), REVIEWS]), TARGET, "on no node", id="no-node"
        ),
        pytest.param(CALLER, FakePods(), "reviews", "want spiffe://", id="no-identity"),
        pytest.param(
            CALLER,
            FakePods(),
            "spiffe://partner.example/ns/shop/sa/reviews",
            "trust domain is not",
            id="foreign-identity",
        ),
        pytest.param(CALLER, FakePods([PROXY]), TARGET, "no pod of", id="nobody-runs-as-it"),
        pytest.param(
            CALLER,
            FakePods([PROXY, replace(REVIEWS, node="node-2")]),
            TARGET,
            "no pod of",
            id="on-another-node",
        ),
        pytest.param(
            CALLER,
            FakePods([PROXY, replace(REVIEWS, phase="Failed")]),
            TARGET,
            "no pod of",
            id="only-a-failed-pod",
        ),
        pytest.param(
            CALLER,
            FakePods([PROXY, replace(REVIEWS, service_account="ratings")]),
            TARGET,
            "no pod of",
            id="another-account-of-the-namespace",
        ),
        pytest.param(
            CALLER,
            FakePods([PROXY, replace(REVIEWS, namespace="other")]),
            TARGET,
            "no pod of",
            id="same-account-elsewhere",
        ),
        pytest.param(
            changed(cluster="west"), FakePods(), TARGET, "'west' is silent", id="another-cluster"
        ),
        pytest.param(CALLER, FakePods(silent=True), TARGET, "is silent", id="api-is-silent"),
    ],
)
async def test_each_condition_alone(
    caller: Caller, pods: FakePods, target: str, reason: str
) -> None:
    with pytest.raises(ImpersonationRefused) as caught:
        await impersonation(pods).subject(caller, target)
    assert reason in caught.value.reason
    assert str(caught.value) == "request impersonation authentication failure"


@pytest.mark.parametrize(
    "caller",
    [
        pytest.param(Caller("admin socket", administrator=True), id="administrator"),
        pytest.param(Caller("client certificate", (GALLEY,)), id="registrar"),
    ],
)
async def test_who_may_name_anybody(caller: Caller) -> None:
    """Without pods: those are vouched for otherwise."""
    asking = Impersonation(DOMAIN, registrars=frozenset({GALLEY}))
    assert str(await asking.subject(caller, TARGET)) == TARGET
    with pytest.raises(ImpersonationRefused):
        await asking.subject(caller, "spiffe://partner.example/ns/a/sa/b")


@pytest.mark.parametrize(
    "caller",
    [
        pytest.param(Caller("join token", (GALLEY,)), id="not-by-certificate"),
        pytest.param(Caller("XFCC", (GALLEY,)), id="by-what-a-gateway-says"),
        pytest.param(Caller("client certificate", (TARGET, GALLEY)), id="not-its-first-name"),
        pytest.param(Caller("client certificate"), id="nobody"),
        pytest.param(Caller("client certificate", (TARGET,)), id="a-workload"),
    ],
)
async def test_who_is_no_registrar(caller: Caller) -> None:
    with pytest.raises(ImpersonationRefused):
        await impersonation().subject(caller, TARGET)


async def test_without_kubernetes_nodes_cannot_be_trusted() -> None:
    asking = Impersonation(DOMAIN, nodes=frozenset({("istio-system", "ztunnel")}))
    with pytest.raises(ImpersonationRefused) as caught:
        await asking.subject(CALLER, TARGET)
    assert caught.value.reason == "pods cannot be asked about"


def test_node_accounts() -> None:
    assert node_accounts(["istio-system/ztunnel", "a/b"]) == {
        ("istio-system", "ztunnel"),
        ("a", "b"),
    }
    for entry in ("ztunnel", "/b", "a/", "a/b/c"):
        with pytest.raises(ValueError, match="want NAMESPACE/ACCOUNT"):
            node_accounts([entry])

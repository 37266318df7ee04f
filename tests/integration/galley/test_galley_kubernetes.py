"""What Galley writes into Kubernetes: roots, and Secrets as in 1.4 (A9, A10, D9, D10).

Section numbers are those of citadel-and-agent.md. Before other roots come at the end, the webhooks
as an API server asks them (galley-and-kubernetes.md A3, C, G5).
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from typer.testing import CliRunner

from mast.cli.main import app
from mast.common.keys import STATUS_CLUSTERS, cluster_key, service_key, trust_key
from mast.common.kubernetes import ApiError
from mast.common.kubernetes.objects import (
    CONFIG_MAPS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    NAMESPACES,
    SECRETS,
    SERVICE_ACCOUNTS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
)
from mastapi.registry.v1.registry_pb2 import Service
from mastapi.status.v1.status_pb2 import ClustersStatus
from mastapi.trust.v1 import trust_pb2
from tests.fakes.kubernetes.callers import Rule
from tests.fakes.kubernetes.kinds import SERVICES
from tests.fakes.kubernetes.server import api_server
from tests.integration.galley.site import GALLEY, RULES, VALIDATORS, Site, running_site
from tests.support.documented import documented_webhooks
from tests.support.galley_server import RunningGalley
from tests.support.pki import Ca
from tests.support.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT_MAP, CRL_MAP = "istio-ca-root-cert", "istio-ca-crl"
MERGE = "application/merge-patch+json"
BUNDLE_SECONDS = 5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    async with running_site() as running:
        yield running


async def test_every_namespace_knows_the_roots(site: Site) -> None:
    served = ("default", "kube-system", "istio-system", "shop")
    await until(lambda: all(site.roots_in(n) == site.roots.decode() for n in served))
    found = site.get(CONFIG_MAPS, "shop", ROOT_MAP)
    assert found is not None
    assert found["metadata"]["labels"] == {"istio.io/config": "true"}
    for namespace in ("kube-public", "kube-node-lease"):
        assert site.roots_in(namespace) is None
    assert site.get(CONFIG_MAPS, "shop", CRL_MAP) is None


async def test_configuration_of_the_cluster_is_the_meshs(site: Site) -> None:
    """Either Galley shows what one of them stored."""
    rule = {"metadata": {"name": "reviews"}, "spec": {"host": "reviews"}}
    site.cluster.objects.create(RULES, "shop", rule)
    for galley in site.galleys:
        await galley.page_with("/ready", '"kubernetes": "in sync"')
        await galley.page_with("/ready", '"services": "in sync"')

        async def shown(galley: RunningGalley = galley) -> bool:
            return "shop/reviews" in await galley.listed("DestinationRule")

        await until(shown)


async def test_the_map_of_1_4(site: Site) -> None:
    await until(lambda: site.get(CONFIG_MAPS, "istio-system", "istio-security") is not None)
    found = site.get(CONFIG_MAPS, "istio-system", "istio-security")
    assert found is not None
    assert base64.b64decode(found["data"]["caTLSRootCert"]) == site.roots
    assert site.get(CONFIG_MAPS, "shop", "istio-security") is None


async def test_a_deleted_map_is_back_in_five_seconds(site: Site) -> None:
    """D9."""
    await until(lambda: site.roots_in("shop") is not None)
    begun = time.monotonic()
    site.cluster.objects.delete(CONFIG_MAPS, "shop", ROOT_MAP)
    await until(lambda: site.roots_in("shop") is not None)
    assert time.monotonic() - begun < 5


async def test_a_changed_map_is_repaired_and_keeps_what_others_wrote(site: Site) -> None:
    await until(lambda: site.roots_in("shop") is not None)
    evil = {"data": {"root-cert.pem": "evil", "theirs": "x"}, "metadata": {"labels": None}}
    site.cluster.objects.patch(CONFIG_MAPS, "shop", ROOT_MAP, evil, MERGE)
    await until(lambda: site.roots_in("shop") == site.roots.decode())
    found = site.get(CONFIG_MAPS, "shop", ROOT_MAP)
    assert found is not None
    assert found["data"]["theirs"] == "x"
    assert found["metadata"]["labels"] == {"istio.io/config": "true"}


async def test_new_namespaces_and_ending_ones(site: Site) -> None:
    site.namespace("ending", finalizers=["test/hold"])
    site.namespace("new")
    await until(lambda: None not in (site.roots_in("new"), site.roots_in("ending")))
    site.cluster.objects.delete(NAMESPACES, "", "ending")
    assert site.roots_in("ending") is None
    site.namespace("newer")
    await until(lambda: site.roots_in("newer") is not None)
    assert site.roots_in("ending") is None


async def test_a_forbidden_namespace_holds_nobody_up(site: Site) -> None:
    site.cluster.callers.refused.append(Rule("create", "configmaps", "closed"))
    site.namespace("closed")
    site.namespace("open")
    await until(lambda: site.roots_in("open") is not None)
    assert site.roots_in("closed") is None
    site.cluster.callers.refused.clear()


async def test_services_of_the_cluster_are_in_the_registry(site: Site) -> None:
    service = {"metadata": {"name": "web"}, "spec": {"clusterIP": "10.0.0.9"}}
    site.cluster.objects.create(SERVICES, "shop", service)
    host = "web.shop.svc.cluster.local"

    async def registered() -> bool:
        entry = await site.store.get(service_key("shop", host, "Kubernetes"))
        return entry is not None and list(Service.FromString(entry.value).addresses) == ["10.0.0.9"]

    await until(registered)


async def test_other_clusters(site: Site) -> None:
    """They get the roots of the mesh as well, and everybody is told how far they are (D3)."""
    async with api_server() as remote:
        injector = next(each for each in documented_webhooks() if each["kind"].startswith("Mut"))
        remote.objects.create(MUTATING_WEBHOOK_CONFIGURATIONS, "", injector)
        remote.objects.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
        data = {"east": base64.b64encode(remote.kubeconfig().encode()).decode()}
        metadata = {"name": "east", "labels": {"istio/multiCluster": "true"}}
        site.cluster.objects.create(SECRETS, "istio-system", {"metadata": metadata, "data": data})
        await until(lambda: (CONFIG_MAPS, "shop", ROOT_MAP) in remote.objects.stored)

        def trusted() -> set[bytes]:
            name = injector["metadata"]["name"]
            found = remote.objects.get(MUTATING_WEBHOOK_CONFIGURATIONS, "", name)["webhooks"]
            return {base64.b64decode(each["clientConfig"].get("caBundle", "")) for each in found}

        await until(lambda: trusted() == {site.roots})
        galley = site.galleys[0]
        await galley.page_with("/debug/clusterz", '"id": "east"')
        await galley.page_with("/metrics", 'istiod_managed_clusters{cluster_type="remote"} 1')
        address = galley.config.monitoring_listen
        command = ["remote-clusters", "--galley", address]
        ended = await asyncio.to_thread(CliRunner().invoke, app, command)
        east = next(line for line in ended.stdout.splitlines() if line.startswith("east"))
        assert east.split()[1:3] == ["istio-system/east", "synced"]

        async def published() -> bool:
            found = (await site.store.list(STATUS_CLUSTERS)).entries
            told = [ClustersStatus.FromString(each.value) for each in found]
            clusters = {c.cluster: c.status for each in told for c in each.clusters}
            return clusters.get("east") == "synced"

        async def kept() -> bool:
            return await site.store.get(cluster_key("east")) is not None

        async def gone() -> bool:
            return not await kept()

        await until(published)
        await until(kept)
        site.cluster.objects.delete(SECRETS, "istio-system", "east")
        await until(gone)


async def test_a_conflict_is_tried_again(site: Site) -> None:
    """Somebody else writes the map at the same time."""
    await until(lambda: site.roots_in("shop") is not None)
    for number in range(5):
        change = {"data": {"root-cert.pem": f"evil {number}"}}
        site.cluster.objects.patch(CONFIG_MAPS, "shop", ROOT_MAP, change, MERGE)
    await until(lambda: site.roots_in("shop") == site.roots.decode())


async def test_an_account_gets_a_secret_and_keeps_it(site: Site) -> None:
    """D10: made in two seconds, remade when deleted, gone with the account."""
    begun = time.monotonic()
    site.account("shop", "reviews")
    first = await site.a_secret("shop", "reviews")
    assert time.monotonic() - begun < 10  # two seconds, on a machine that has nothing else to do
    leaf = x509.load_pem_x509_certificates(first["cert-chain.pem"])[0]
    key = load_pem_private_key(first["key.pem"], None)
    assert key.public_key() == leaf.public_key()
    assert first["root-cert.pem"] == site.roots
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.UniformResourceIdentifier) == [
        "spiffe://cluster.local/ns/shop/sa/reviews"
    ]
    found = site.get(SECRETS, "shop", "istio.reviews")
    assert found is not None
    assert found["type"] == "istio.io/key-and-cert"

    site.cluster.objects.delete(SECRETS, "shop", "istio.reviews")
    second = await site.a_secret("shop", "reviews")
    assert second["key.pem"] != first["key.pem"]
    site.cluster.objects.delete(SERVICE_ACCOUNTS, "shop", "reviews")
    await until(lambda: site.secret("shop", "reviews") is None)


async def test_damaged_and_foreign_secrets(site: Site) -> None:
    site.account("shop", "ratings")
    await site.a_secret("shop", "ratings")
    damage = {"data": {"cert-chain.pem": "AAAA"}}
    site.cluster.objects.patch(SECRETS, "shop", "istio.ratings", damage, MERGE)
    await until(lambda: b"BEGIN" in (site.secret("shop", "ratings") or {})["cert-chain.pem"])

    theirs = {"metadata": {"name": "istio.theirs"}, "type": "Opaque", "data": {"a": "AAAA"}}
    site.cluster.objects.create(SECRETS, "shop", theirs)
    site.account("shop", "theirs")
    site.account("shop", "after")
    await site.a_secret("shop", "after")
    assert site.secret("shop", "theirs") == {"a": b"\0\0\0"}


async def test_namespaces_by_label(site: Site) -> None:
    site.namespace("off", labels={"ca.istio.io/override": "false"})
    site.namespace("elsewhere", labels={"ca.istio.io/env": "another-system"})
    site.namespace("ours", labels={"ca.istio.io/env": "istio-system"})
    for namespace in ("off", "elsewhere", "ours"):
        site.account(namespace, "app")
    await site.a_secret("ours", "app")
    assert site.secret("off", "app") is None
    assert site.secret("elsewhere", "app") is None
    change = {"metadata": {"labels": {"ca.istio.io/override": "true"}}}
    site.cluster.objects.patch(NAMESPACES, "", "off", change, MERGE)
    await site.a_secret("off", "app")


@pytest.mark.parametrize(
    ("account", "name"),
    [
        (GALLEY, "istio-galley"),
        ("istio-sidecar-injector-service-account", "istio-sidecar-injector"),
    ],
)
async def test_names_of_services_of_the_control_plane(site: Site, account: str, name: str) -> None:
    site.account("istio-system", account)
    secret = await site.a_secret("istio-system", account)
    leaf = x509.load_pem_x509_certificates(secret["cert-chain.pem"])[0]
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    names = san.get_values_for_type(x509.DNSName)
    assert {f"{name}.istio-system.svc", f"{name}.istio-system"} <= set(names)


async def test_what_is_counted(site: Site) -> None:
    site.account("shop", "counted")
    await site.a_secret("shop", "counted")
    pages = [(await galley.page("/metrics"))[1] for galley in site.galleys]
    name = "citadel_secret_controller_svc_acc_created_cert_count"
    lines = [line for page in pages for line in page.splitlines() if line.startswith(name)]
    assert sum(float(line.rpartition(" ")[2]) for line in lines) >= 2


async def test_only_one_writes(site: Site) -> None:
    """Every map and Secret of a new namespace is created once, though there are two Galleys."""
    site.namespace("single")
    site.account("single", "app")
    await site.a_secret("single", "app")
    await site.a_secret("single", "default")
    await until(lambda: site.roots_in("single") is not None)
    posts = [r for r in site.cluster.requests if r.startswith("POST /api/v1/namespaces/single/")]
    kinds = [post.rpartition("/")[2] for post in posts]
    assert kinds.count("configmaps") == 1
    assert kinds.count("secrets") == 2  # of the account, and of the one named default


async def test_validators_close_and_keep_out_what_is_invalid(site: Site) -> None:
    """G5: nothing is refused before our webhook was seen to refuse."""
    await until(lambda: site.policies() == {"Fail"} and site.bundles() == {site.roots})
    with pytest.raises(ApiError) as refused:
        await site.rule("a", host="a.com", subsets=[{"name": "v.1"}])
    assert refused.value.message.startswith(
        'admission webhook "validation.istio.io" denied the request: configuration is invalid: '
        "DestinationRule shop/a: spec.subsets[0].name: 'v.1' must be"
    )
    await site.rule("a", host="a.com")
    with pytest.raises(ApiError, match="denied the request"):
        await site.api.patch(RULES, "a", {"spec": {"host": "*bad"}}, "shop")
    page = (await site.galleys[0].page("/metrics"))[1]
    assert 'galley_validation_failed{group="networking.istio.io",reason="name"' in page


async def test_any_replica_judges_and_without_all_nothing_is_stored(site: Site) -> None:
    await until(lambda: site.policies() == {"Fail"})
    site.webhooks_of(site.galleys[1])
    with pytest.raises(ApiError, match="denied the request"):
        await site.rule("b", host="*bad")
    site.webhooks_of(None)
    with pytest.raises(ApiError, match="failed calling webhook"):
        await site.rule("b", host="b.com")
    site.webhooks_of(site.galleys[0])
    await site.rule("b", host="b.com")


async def test_a_bundle_is_put_back_by_one_replica(site: Site) -> None:
    """G5: at once, and nobody undoes it: whatever is taken away comes back by one change."""
    await until(lambda: site.policies() == {"Fail"} and site.bundles() == {site.roots})
    before = {name: site.changes(name) for name in VALIDATORS}
    for name in VALIDATORS:
        steps = [{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]
        site.cluster.objects.patch(
            VALIDATING_WEBHOOK_CONFIGURATIONS, "", name, steps, "application/json-patch+json"
        )
        await until(lambda: site.bundles() == {site.roots}, seconds=BUNDLE_SECONDS)
    assert {name: site.changes(name) for name in VALIDATORS} == {
        name: count + 2 for name, count in before.items()
    }


async def test_pods_get_their_proxies(site: Site) -> None:
    """C1: by labels of namespace and pod; the readiness of Galley tells of the settings."""
    await site.galleys[0].page_with("/ready", '"injection": "configured"')
    await until(lambda: site.bundles() == {site.roots})
    site.namespace("meshed", labels={"istio-injection": "enabled"})
    assert "istio-proxy" in await site.containers("meshed")
    assert await site.containers("meshed", **{"sidecar.istio.io/inject": "false"}) == ["web"]
    assert await site.containers("shop") == ["web"]
    assert "istio-proxy" in await site.containers("shop", **{"sidecar.istio.io/inject": "true"})


async def test_other_roots_reach_everything(site: Site) -> None:
    """Last, because it makes the roots of the mesh others: a bundle with one more, and a list."""
    site.account("shop", "rerooted")
    await site.a_secret("shop", "rerooted")
    key = trust_key("cluster.local")
    entry = await site.store.get(key)
    assert entry is not None
    bundle = trust_pb2.TrustBundle.FromString(entry.value)
    bundle.roots.add(pem=Ca.root("second").pem.decode(), state=trust_pb2.Root.PREPARED)
    bundle.crl_pem = "-----BEGIN X509 CRL-----\n"
    bundle.sequence += 1
    both = "".join(sorted(root.pem for root in bundle.roots))
    await site.store.put(key, bundle.SerializeToString())
    await until(lambda: site.roots_in("shop") == both)
    await until(
        lambda: (site.secret("shop", "rerooted") or {}).get("root-cert.pem") == both.encode()
    )
    await until(lambda: site.get(CONFIG_MAPS, "shop", CRL_MAP) is not None)
    await until(lambda: site.bundles() == {both.encode()})
    bundle.crl_pem = ""
    bundle.sequence += 1
    await site.store.put(key, bundle.SerializeToString())
    await until(lambda: site.get(CONFIG_MAPS, "shop", CRL_MAP) is None)

"""What Galley's leader writes into Kubernetes: roots, and Secrets as in 1.4 (A9, A10, D9, D10).

Section numbers are those of citadel-and-agent.md. Real etcd and Citadel; a fake API server.
"""

from __future__ import annotations

import base64
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mast.common.etcd import EtcdConfig, Store, connect
from mast.common.keys import trust_key
from mast.common.kubernetes.objects import (
    CONFIG_MAPS,
    NAMESPACES,
    SECRETS,
    SERVICE_ACCOUNTS,
    Object,
)
from mastapi.trust.v1 import trust_pb2
from tests.fakes.kubernetes.callers import Rule
from tests.fakes.kubernetes.objects import Status
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.integration.citadel.process import Citadel, citadel
from tests.support.etcd_server import etcd_server, free_port
from tests.support.galley_server import RunningGalley, galley_server
from tests.support.pki import Ca
from tests.support.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

GALLEY = "istio-galley-service-account"
ROOT_MAP, CRL_MAP = "istio-ca-root-cert", "istio-ca-crl"
MERGE = "application/merge-patch+json"


@dataclass
class Site:
    """A cluster with two Galleys on it, of which one leads."""

    cluster: Cluster
    ca: Citadel
    store: Store
    galleys: list[RunningGalley]
    roots: bytes

    def get(self, resource: Any, namespace: str, name: str) -> Object | None:
        try:
            return self.cluster.objects.get(resource, namespace, name)
        except Status:
            return None

    def roots_in(self, namespace: str) -> str | None:
        """What the map of a namespace says."""
        found = self.get(CONFIG_MAPS, namespace, ROOT_MAP)
        return found["data"].get("root-cert.pem") if found else None

    def namespace(self, name: str, **metadata: Any) -> None:
        self.cluster.objects.create(NAMESPACES, "", {"metadata": {"name": name, **metadata}})

    def account(self, namespace: str, name: str) -> None:
        self.cluster.objects.create(SERVICE_ACCOUNTS, namespace, {"metadata": {"name": name}})

    def secret(self, namespace: str, account: str) -> dict[str, bytes] | None:
        found = self.get(SECRETS, namespace, f"istio.{account}")
        return found and {n: base64.b64decode(v) for n, v in found["data"].items()}

    async def a_secret(self, namespace: str, account: str) -> dict[str, bytes]:
        """The Secret of an account, once it is there."""
        await until(lambda: self.secret(namespace, account) is not None)
        return self.secret(namespace, account) or {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    with tempfile.TemporaryDirectory(prefix="gk-") as name:
        directory = Path(name)
        registrar = f"spiffe://cluster.local/ns/istio-system/sa/{GALLEY}"
        async with (
            api_server() as cluster,
            etcd_server(directory) as etcd,
            connect(EtcdConfig(endpoints=(etcd.endpoint,))) as store,
            citadel(etcd.endpoint, directory, ["--registrars", registrar]) as ca,
        ):
            for namespace in ("istio-system", "shop"):
                cluster.objects.create(NAMESPACES, "", {"metadata": {"name": namespace}})
            kubeconfig = directory / "kubeconfig"
            kubeconfig.write_text(cluster.kubeconfig())
            roots = await ca.roots()
            (directory / "root.pem").write_bytes(roots)
            settings: dict[str, Any] = {
                "kubeconfig": kubeconfig,
                "legacy_security_map": True,
                "workload_secrets": True,
                "workload_key_algorithm": "P256",
                "ca_address": await ca.service.address("ca"),
                "ca_root_file": directory / "root.pem",
            }
            tokens = []
            for each in ("one", "two"):
                (directory / each).mkdir()
                tokens.append(directory / each / "token")
                tokens[-1].write_text(await ca.join_token("istio-system", GALLEY))
            async with (
                galley_server(
                    directory / "one",
                    etcd.endpoint,
                    **settings,
                    listen=f"127.0.0.1:{free_port()}",
                    ca_token_file=tokens[0],
                ) as one,
                galley_server(
                    directory / "two",
                    etcd.endpoint,
                    **settings,
                    listen=f"127.0.0.1:{free_port()}",
                    ca_token_file=tokens[1],
                ) as two,
            ):
                yield Site(cluster, ca, store, [one, two], roots)


async def test_every_namespace_knows_the_roots(site: Site) -> None:
    served = ("default", "kube-system", "istio-system", "shop")
    await until(lambda: all(site.roots_in(n) == site.roots.decode() for n in served))
    found = site.get(CONFIG_MAPS, "shop", ROOT_MAP)
    assert found is not None
    assert found["metadata"]["labels"] == {"istio.io/config": "true"}
    for namespace in ("kube-public", "kube-node-lease"):
        assert site.roots_in(namespace) is None
    assert site.get(CONFIG_MAPS, "shop", CRL_MAP) is None


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


async def test_other_roots_reach_every_map_and_secret(site: Site) -> None:
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
    bundle.crl_pem = ""
    bundle.sequence += 1
    await site.store.put(key, bundle.SerializeToString())
    await until(lambda: site.get(CONFIG_MAPS, "shop", CRL_MAP) is None)

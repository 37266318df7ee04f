"""Who gets which secret, and why others get none (pilot.md C, I5, N16)."""

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.memo import Reads
from mast.pilot.core.security.credentials import Reference, Scheme, Unavailable, reference, secret
from mast.pilot.core.xds.resources import SDS
from tests.support.credentials import config_map_yaml, secret_yaml
from tests.support.mesh_yaml import changes, scope, sidecar_proxy, world
from tests.support.pki import Ca

CA, OTHER_CA = Ca.root(), Ca.root("other")
PAIR, OTHER = CA.leaf(dns=["a.test"]), CA.leaf(dns=["b.test"])
GRANT = """
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: certificates, namespace: certs}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: edge}]
  to: [{group: "", kind: Secret, name: web}]
"""
MESH = (
    secret_yaml("web", "edge", tls_crt=PAIR.chain, tls_key=PAIR.key, ca_crt=CA.pem),
    secret_yaml("generic", "edge", cert=OTHER.chain, key=OTHER.key),
    secret_yaml("generic-cacert", "edge", cacert=OTHER_CA.pem),
    secret_yaml("broken", "edge", tls_crt=PAIR.chain, tls_key=OTHER.key),
    secret_yaml("web", "certs", tls_crt=OTHER.chain, tls_key=OTHER.key, ca_crt=OTHER_CA.pem),
    secret_yaml("hidden", "certs", tls_crt=OTHER.chain, tls_key=OTHER.key),
    config_map_yaml("roots", "certs", ca_crt=CA.pem),
    GRANT,
)
GATEWAY = sidecar_proxy("edge")


def served(name: str, proxy: Proxy = GATEWAY) -> Secret | Unavailable:
    return secret(name, scope(proxy, *MESH))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kubernetes://a", Reference(Scheme.KUBERNETES, "edge", "a", False)),
        ("kubernetes://a.b-cacert", Reference(Scheme.KUBERNETES, "edge", "a.b-cacert", True)),
        ("kubernetes://n/a", Reference(Scheme.KUBERNETES, "n", "a", False)),
        ("kubernetes-gateway://n/a", Reference(Scheme.GATEWAY, "n", "a", False)),
        ("configmap://n/a", Reference(Scheme.CONFIG_MAP, "n", "a", True)),
        ("configmap://n/a-cacert", Reference(Scheme.CONFIG_MAP, "n", "a-cacert", True)),
        ("invalid://a", None),
        ("default", None),
        ("kubernetes://", None),
        ("kubernetes://n/", None),
        ("kubernetes:///a", None),
        ("kubernetes://m/n/a", None),
    ],
)
def test_references(name: str, expected: Reference | None) -> None:
    assert reference(name, "edge") == expected


@pytest.mark.parametrize(
    ("name", "chain"),
    [
        ("kubernetes://web", PAIR.chain),
        ("kubernetes://edge/web", PAIR.chain),
        ("kubernetes-gateway://edge/web", PAIR.chain),
        ("kubernetes://generic", OTHER.chain),
        ("kubernetes-gateway://certs/web", OTHER.chain),
    ],
)
def test_certificates(name: str, chain: bytes) -> None:
    found = served(name)
    assert isinstance(found, Secret)
    assert found.name == name
    assert found.tls_certificate.certificate_chain.inline_bytes == chain
    assert found.tls_certificate.private_key.inline_bytes in (PAIR.key, OTHER.key)


@pytest.mark.parametrize(
    ("name", "roots"),
    [
        ("kubernetes://web-cacert", CA.pem),
        ("kubernetes://generic-cacert", OTHER_CA.pem),
        ("kubernetes-gateway://certs/web-cacert", OTHER_CA.pem),
        ("configmap://certs/roots", CA.pem),
        ("configmap://certs/roots-cacert", CA.pem),
    ],
)
def test_roots(name: str, roots: bytes) -> None:
    found = served(name)
    assert isinstance(found, Secret)
    assert found.validation_context.trusted_ca.inline_bytes == roots
    assert not found.HasField("tls_certificate")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sds://web", "the name has no form that the mesh knows"),
        ("kubernetes://absent", "no secrets edge/absent holds a certificate with its key"),
        ("kubernetes://broken-cacert", "no secrets edge/broken holds roots"),
        ("kubernetes://broken", "tls.key of secrets edge/broken is not the key of the first"),
        ("kubernetes://certs/web", "secrets certs/web is of another namespace"),
        ("kubernetes-gateway://certs/hidden", "secrets certs/hidden is of another namespace"),
        ("configmap://certs/absent", "no configmaps certs/absent holds roots"),
    ],
)
def test_reasons(name: str, reason: str) -> None:
    found = served(name)
    assert isinstance(found, Unavailable)
    assert found.reason.startswith(reason)


def test_a_grant_is_for_the_gateways_of_one_namespace() -> None:
    found = served("kubernetes-gateway://certs/web", sidecar_proxy("shop"))
    assert isinstance(found, Unavailable)


def test_a_secret_that_comes_and_changes_touches_nothing_else() -> None:
    mesh = world(*MESH)
    before = mesh.snapshot(1).view(GATEWAY)
    assert before.named(SDS, "kubernetes://late") is None
    web = before.named(SDS, "kubernetes://web")
    late = secret_yaml("late", "edge", tls_crt=OTHER.chain, tls_key=OTHER.key)
    assert not mesh.apply(changes(late))
    after = mesh.snapshot(2).view(GATEWAY)
    assert after.named(SDS, "kubernetes://late") is not None
    assert after.named(SDS, "kubernetes://web") is web


def test_a_missing_secret_is_reported() -> None:
    mesh = world(*MESH)
    snapshot = mesh.snapshot(1)
    snapshot.view(GATEWAY).named(SDS, "kubernetes://absent")
    (found,) = [each for each in snapshot.findings([GATEWAY]) if each.key == "kubernetes://absent"]
    assert found.fault == "pilot_sds_certificate_errors_total"
    assert "absent" in found.message


def test_secrets_are_no_configuration_that_is_listed() -> None:
    index = world(*MESH).snapshot(1).index
    assert not any("secrets" in each for each in index.collections)
    assert ("edge", "web") in index.secrets
    assert "PRIVATE" not in repr(index)
    assert index.secrets[("edge", "web")].key is not None


def test_reads_name_the_secret() -> None:
    reads = Reads()
    world(*MESH).snapshot(1).scope("edge", reads).secret("edge", "web")
    assert ("credential", ("edge", "web")) in reads.facts()

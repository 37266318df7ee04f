"""Envoy speaks mutual TLS with Citadel's leaves, as client and as server (D1, A2).

Section numbers are those of citadel-and-agent.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import envoy.extensions.filters.http.router.v3.router_pb2
import envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2
import envoy.extensions.transport_sockets.tls.v3.tls_pb2  # noqa: F401 - types of Any below
import pytest
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from google.protobuf.json_format import ParseDict

from mast.common.identity.ca_client import Algorithm, new_key_and_csr
from mast.common.identity.tls_front import Material
from tests.integration.citadel.process import Citadel, citadel
from tests.integration.citadel.test_citadel_plugged_in import files_of, plug_in
from tests.support.envoy_server import envoy_server
from tests.support.etcd_server import EtcdServer
from tests.support.pki import DAY, Ca

SERVER = "spiffe://cluster.local/ns/shop/sa/reviews"
CLIENT = "spiffe://cluster.local/ns/shop/sa/web"
TYPES = "type.googleapis.com/envoy.extensions."
HCM = TYPES + "filters.network.http_connection_manager.v3.HttpConnectionManager"

Json = Mapping[str, Any]


async def material(ca: Citadel, account: str, algorithm: Algorithm) -> Material:
    """A certificate by join token, as an agent would get it."""
    key, csr = new_key_and_csr("spiffe://ignored/", algorithm)
    client = await ca.client(token=await ca.join_token("shop", account))
    certificate = await client.sign(csr, DAY)
    chain = "".join(certificate.chain_pem).encode()
    return Material(chain, key, {"cluster.local": certificate.roots_pem.encode()})


def tls(own: Material, peer: str, **side: Any) -> Json:
    """A TLS context that presents ``own`` and wants a peer with this URI SAN."""
    kind = "Downstream" if side else "Upstream"
    return {
        "name": "tls",
        "typed_config": {
            "@type": f"{TYPES}transport_sockets.tls.v3.{kind}TlsContext",
            "common_tls_context": {
                "tls_certificates": [
                    {
                        "certificate_chain": {"inline_string": own.cert_chain_pem.decode()},
                        "private_key": {"inline_string": own.key_pem.decode()},
                    }
                ],
                "validation_context": {
                    "trusted_ca": {"inline_string": own.trust["cluster.local"].decode()},
                    "match_typed_subject_alt_names": [
                        {"san_type": "URI", "matcher": {"exact": peer}}
                    ],
                },
            },
            **side,
        },
    }


def listener(name: str, route: Json, **transport: Any) -> Json:
    virtual_host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, **route}],
    }
    manager = {
        "@type": HCM,
        "stat_prefix": name,
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"uri": True},
        "route_config": {"name": name, "virtual_hosts": [virtual_host]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{TYPES}filters.http.router.v3.Router"}}
        ],
    }
    chain = {"filters": [{"name": "hcm", "typed_config": manager}], **transport}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {"name": name, "address": address, "filter_chains": [chain]}


def serving(own: Material, client: str) -> Bootstrap:
    """An Envoy that answers its verified caller with 200."""
    answer = {"direct_response": {"status": 200, "body": {"inline_string": "it is you"}}}
    context = tls(own, client, require_client_certificate=True)
    return ParseDict(
        {"static_resources": {"listeners": [listener("in", answer, transport_socket=context)]}},
        Bootstrap(),
    )


def calling(own: Material, server: str, port: int) -> Bootstrap:
    """An Envoy that forwards plain HTTP over mutual TLS."""
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}
    cluster = {
        "name": "reviews",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "reviews",
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
        },
        "transport_socket": tls(own, server),
    }
    resources = {
        "clusters": [cluster],
        "listeners": [listener("out", {"route": {"cluster": "reviews"}})],
    }
    return ParseDict({"static_resources": resources}, Bootstrap())


async def status(directory: Path, client: Material, server: Material, expected: str) -> int:
    """What a request through both Envoys is answered with."""
    for name in ("server", "client"):
        (directory / name).mkdir(exist_ok=True)
    async with (
        envoy_server(serving(server, CLIENT), directory / "server") as inner,
        envoy_server(calling(client, expected, inner.ports["in"]), directory / "client") as outer,
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{outer.ports['out']}/") as response,
    ):
        return response.status


@pytest.mark.parametrize(
    ("ca_kind", "leaf"),
    [("P256", "P256"), ("RSA2048", "RSA2048"), ("P384", "P256")],
    ids=["P256", "RSA", "P384-CA"],
)
async def test_self_signed(
    etcd: EtcdServer, directory: Path, ca_kind: str, leaf: Algorithm
) -> None:
    async with citadel(etcd.endpoint, directory, ["--ca-key-algorithm", ca_kind]) as ca:
        server = await material(ca, "reviews", leaf)
        client = await material(ca, "web", leaf)
        stranger = await material(ca, "stranger", leaf)
    assert await status(directory, client, server, SERVER) == 200
    # Neither side takes another identity under the same root.
    assert await status(directory, stranger, server, SERVER) == 503
    assert await status(directory, client, stranger, SERVER) == 503


async def test_two_intermediates(etcd: EtcdServer, directory: Path) -> None:
    root = Ca.root("the root")
    signing = root.intermediate("upper").intermediate("lower")
    plug_in(directory, {**files_of(signing), "root-cert.pem": root.pem})
    async with citadel(etcd.endpoint, directory) as ca:
        server = await material(ca, "reviews", "P256")
        client = await material(ca, "web", "P256")
    assert await status(directory, client, server, SERVER) == 200

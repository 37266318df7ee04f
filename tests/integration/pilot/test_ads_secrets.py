"""Secrets over ADS in a real Envoy: a missing one holds nothing else up (pilot.md B11, N3).

Acceptance 5.
"""

import ssl
from typing import Any

from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from google.protobuf.json_format import ParseDict

from mast.pilot.api.ads import Door
from mast.pilot.core.xds.resources import LDS, SDS, Resource, resource
from tests.fakes.pilot_views import FakeMesh, assignment, eds_cluster, routes
from tests.support.ads_server import ads_server, bootstrap, http_listener, load, until
from tests.support.envoy_server import complaints, envoy_server
from tests.support.http_probe import echo_server, fetch
from tests.support.pki import Ca

KNOWN = (tls_pb2,)
WEB = "spiffe://cluster.local/ns/shop/sa/web"


def tls_listener(name: str, secret: str) -> Resource:
    """A listener whose certificate comes over ADS, without a limit on the wait."""
    plain = Listener.FromString(http_listener(name, "r").body)
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    context: dict[str, Any] = {
        "@type": "type.googleapis.com/"
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [{"name": secret, "sds_config": source}]
        },
    }
    socket = plain.filter_chains[0].transport_socket
    ParseDict({"name": "tls", "typed_config": context}, socket)
    return resource(name, LDS, plain, requires=["r"])


def certificate(name: str, ca: Ca) -> Resource:
    pair = ca.leaf(dns=["web.test"])
    message = Secret(name=name)
    message.tls_certificate.certificate_chain.inline_bytes = pair.chain
    message.tls_certificate.private_key.inline_bytes = pair.key
    return resource(name, SDS, message)


async def test_a_missing_secret_holds_nothing_up_and_may_come_later(tmp_path):
    ca = Ca.root()
    mesh = FakeMesh()
    async with echo_server("a") as backend:
        mesh.put(eds_cluster("a"), assignment("a", [backend.port]), routes("r", "a"))
        mesh.put(http_listener("plain", "r"), tls_listener("tls", "kubernetes://missing"))
        door = Door(lambda peer: (WEB,))
        async with ads_server(mesh, door=door) as ads:
            # It is live in this block: the secret is not waited for.
            async with envoy_server(bootstrap(ads.port, delta=True), tmp_path) as envoy:
                async with load(envoy.ports["plain"]):
                    mesh.put(certificate("kubernetes://missing", ca))
                    await ads.push()
                    await until(lambda: ads.watch(SDS).quiet)
                trusting = ssl.create_default_context(cadata=ca.pem.decode())
                reply = await fetch(
                    envoy.ports["tls"], "web.test", tls=trusting, server_name="web.test"
                )
                assert reply.status == 200
                assert complaints(envoy.log.read_text()) == []
            assert ads.metric("pilot_total_xds_rejects") == 0

"""What the kit says of credentials, Envoy says too: a bad one would void a response (B2)."""

from pathlib import Path

import pytest
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

from mast.common.credentials import credential
from mast.pilot.core.packing import packed
from mast.pilot.core.security.credentials import message
from mast.pilot.core.security.transport_sockets import TLS
from tests.support.credential_cases import BAD, GOOD, Values
from tests.support.envoy_server import Rejected, validate
from tests.support.envoy_static import answering_listener, bootstrap


def serving_with(values: Values) -> Bootstrap:
    """A listener that uses a credential; roots together with a certificate that is good."""
    context = DownstreamTlsContext()
    context.require_client_certificate.value = True
    common = context.common_tls_context
    for each in (GOOD["p256"], values):
        found = message("x", credential(each))
        if found.HasField("validation_context"):
            common.validation_context.CopyFrom(found.validation_context)
        else:
            del common.tls_certificates[:]
            common.tls_certificates.append(found.tls_certificate)
    listener = answering_listener([])
    socket = listener.filter_chains[0].transport_socket
    socket.name = TLS
    socket.typed_config.CopyFrom(packed(context))
    return bootstrap([listener], [])


@pytest.mark.parametrize("values", GOOD.values(), ids=list(GOOD))
def test_good(values: Values, tmp_path: Path) -> None:
    validate(serving_with(values), tmp_path)


@pytest.mark.parametrize("values", BAD.values(), ids=list(BAD))
def test_bad(values: Values, tmp_path: Path) -> None:
    with pytest.raises(Rejected):
        validate(serving_with(values), tmp_path)

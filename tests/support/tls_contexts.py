"""TLS of clients and servers with certificates that a test makes."""

import ssl
from tempfile import NamedTemporaryFile

from tests.support.pki import Ca, Pair


def tls_client(ca: Ca, own: Pair | None = None) -> ssl.SSLContext:
    """TLS that verifies the server with a root, and shows a certificate of its own."""
    context = ssl.create_default_context(cadata=ca.pem.decode())
    # The roots of tests have no key identifiers.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    return _showing(context, own) if own else context


def tls_server(own: Pair) -> ssl.SSLContext:
    """TLS of a backend."""
    return _showing(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), own)


def _showing(context: ssl.SSLContext, own: Pair) -> ssl.SSLContext:
    """A context takes its certificate from a file only."""
    with NamedTemporaryFile() as file:
        file.write(own.chain + own.key)
        file.flush()
        context.load_cert_chain(file.name)
    return context

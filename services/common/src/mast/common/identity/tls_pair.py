"""A certificate and its key, taken from memory into a TLS context."""

from __future__ import annotations

import os
import ssl


def load_pair(context: ssl.SSLContext, chain_pem: bytes, key_pem: bytes) -> None:
    """What the context presents from now on, also to new connections of an open server.

    Raises ssl.SSLError (an OSError) if the PEM does not load or the two do not match.
    """
    # The ssl module reads keys from files only; this one lives in memory.
    pair = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        os.write(pair, key_pem + b"\n" + chain_pem)
        context.load_cert_chain(f"/proc/self/fd/{pair}")
    finally:
        os.close(pair)

"""A key plug-in for Citadel: what an operator writes for a vault, with keys in memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from mast.common.identity.ca_client import new_private_key
from mastapi.kms.v1 import kms_pb2, kms_pb2_grpc

HASHES = {kms_pb2.SHA256: hashes.SHA256(), kms_pb2.SHA384: hashes.SHA384()}


class Keys(kms_pb2_grpc.KeyServiceServicer):
    """Keys by name; ``down`` as a vault may be."""

    def __init__(self) -> None:
        self.keys: dict[str, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = {}
        self.down = False
        self.signed = 0

    def CreateKey(self, request: kms_pb2.CreateKeyRequest, context: Any) -> kms_pb2.Key:
        name = f"{request.trust_domain}/{len(self.keys)}"
        self.keys[name] = new_private_key(kms_pb2.Algorithm.Name(request.algorithm))
        return self._told(name)

    def GetKey(self, request: kms_pb2.GetKeyRequest, context: Any) -> kms_pb2.Key:
        if request.id not in self.keys:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no key {request.id!r}")
        return self._told(request.id)

    def Sign(self, request: kms_pb2.SignRequest, context: Any) -> kms_pb2.SignResponse:
        if self.down:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the vault is sealed")
        key, chosen = self.keys[request.id], Prehashed(HASHES[request.hash])
        self.signed += 1
        if isinstance(key, rsa.RSAPrivateKey):
            signature = key.sign(request.digest, padding.PKCS1v15(), chosen)
        else:
            signature = key.sign(request.digest, ec.ECDSA(chosen))
        return kms_pb2.SignResponse(signature=signature)

    def DestroyKey(
        self, request: kms_pb2.DestroyKeyRequest, context: Any
    ) -> kms_pb2.DestroyKeyResponse:
        self.keys.pop(request.id, None)
        return kms_pb2.DestroyKeyResponse()

    def _told(self, name: str) -> kms_pb2.Key:
        public = self.keys[name].public_key()
        pem = public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return kms_pb2.Key(id=name, public_key_pem=pem.decode())


@contextmanager
def key_plugin(socket: Path) -> Iterator[Keys]:
    """A plug-in that serves on a Unix socket within the block."""
    keys = Keys()
    server = grpc.server(ThreadPoolExecutor(2))
    kms_pb2_grpc.add_KeyServiceServicer_to_server(keys, server)  # type: ignore[arg-type]
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    try:
        yield keys
    finally:
        server.stop(None).wait()

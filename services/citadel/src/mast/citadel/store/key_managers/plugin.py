"""Keys of a plug-in of the operator's, behind a small gRPC interface (mastapi/kms/v1, A12).

Whatever a cloud or a vault offers, a plug-in of a page makes it four calls on a Unix socket.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
from cryptography.hazmat.primitives import serialization

from mast.citadel.core.keys import PrivateKey
from mast.citadel.core.remote_keys import KeyUnavailable, remote_key
from mast.citadel.store.key_managers.keyring import NewKey
from mastapi.kms.v1 import kms_pb2, kms_pb2_grpc

SECONDS: Final = 5.0
_LONGEST_ID: Final = 200
_HASHES: Final = {"sha256": kms_pb2.SHA256, "sha384": kms_pb2.SHA384}


@dataclass(frozen=True)
class PluginKeys:
    """``socket`` is where the plug-in serves; ``trust_domain`` what new keys are for."""

    socket: Path
    trust_domain: str

    async def create(self, algorithm: str) -> NewKey:
        request = kms_pb2.CreateKeyRequest(
            algorithm=kms_pb2.Algorithm.Value(algorithm), trust_domain=self.trust_domain
        )
        made = await asyncio.to_thread(self._call, "CreateKey", request)
        if not 0 < len(made.id) <= _LONGEST_ID or not made.id.isprintable():
            raise KeyUnavailable(f"{self._where}: id {made.id[:20]!r}…: want 1 to 200 characters")
        return NewKey(self._key(made), made.id)

    async def load(self, name: str) -> PrivateKey | None:
        request = kms_pb2.GetKeyRequest(id=name)
        return self._key(await asyncio.to_thread(self._call, "GetKey", request))

    async def destroy(self, name: str) -> None:
        await asyncio.to_thread(self._call, "DestroyKey", kms_pb2.DestroyKeyRequest(id=name))

    def _key(self, told: kms_pb2.Key) -> PrivateKey:
        try:
            public = serialization.load_pem_public_key(told.public_key_pem.encode())
            return remote_key(public, partial(self._signature, told.id))
        except ValueError as error:
            raise KeyUnavailable(f"{self._where}: key {told.id!r}: {error}") from error

    def _signature(self, name: str, digest: bytes, algorithm: str) -> bytes:
        request = kms_pb2.SignRequest(id=name, hash=_HASHES[algorithm], digest=digest)
        signature: bytes = self._call("Sign", request).signature
        return signature

    @property
    def _where(self) -> str:
        return f"key plug-in at {self.socket}"

    def _call(self, method: str, request: Any) -> Any:
        """One call on a channel of its own, from a thread: keys sign where nobody awaits."""
        with grpc.insecure_channel(f"unix:{self.socket}") as channel:
            # The stubs' types are those of asyncio; the generated code takes both.
            stub: Any = kms_pb2_grpc.KeyServiceStub(channel)  # type: ignore[arg-type]
            try:
                return getattr(stub, method)(request, timeout=SECONDS)
            except grpc.RpcError as error:
                told = f"{error.code().name}: {error.details()}"
                raise KeyUnavailable(f"{self._where}: {method}: {told}") from error

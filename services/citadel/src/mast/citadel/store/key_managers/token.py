"""Keys in a PKCS #11 token: a hardware module, or SoftHSM (A12). Needs ``mast-citadel[pkcs11]``."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pkcs11
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters
from pkcs11.util.rsa import encode_rsa_public_key

from mast.citadel.core.keys import PrivateKey, key_name
from mast.citadel.core.remote_keys import DIGEST_INFO, KeyUnavailable, remote_key
from mast.citadel.store.key_managers.keyring import NewKey

_CURVES: Final = {"P256": "secp256r1", "P384": "secp384r1"}
_NEW: Final = "mast-new"


@dataclass
class TokenKeys:
    """``module`` is the vendor's library, ``token`` the token's label, ``pin`` the user's.

    Private keys are made in the token, sensitive and not extractable; their label is their name.
    """

    module: Path
    token: str
    pin: str
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _session: Any = None

    async def create(self, algorithm: str) -> NewKey:
        return await asyncio.to_thread(self._create, algorithm)

    async def load(self, name: str) -> PrivateKey | None:
        return await asyncio.to_thread(self._load, name)

    async def destroy(self, name: str) -> None:
        await asyncio.to_thread(self._destroy, name)

    def _create(self, algorithm: str) -> NewKey:
        private = {pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False}
        common = {"label": _NEW, "store": True, "private_template": private}
        with self._opened() as session:
            if algorithm in _CURVES:
                parameters = session.create_domain_parameters(
                    pkcs11.KeyType.EC,
                    {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVES[algorithm])},
                    local=True,
                )
                public, secret = parameters.generate_keypair(**common)
            else:
                bits = int(algorithm.removeprefix("RSA"))
                public, secret = session.generate_keypair(pkcs11.KeyType.RSA, bits, **common)
            key = self._key(public, "")
            name = key_name(key)
            for each in (public, secret):
                each[pkcs11.Attribute.LABEL] = name
            return NewKey(self._key(public, name), name)

    def _load(self, name: str) -> PrivateKey:
        with self._opened() as session:
            public = session.get_key(object_class=pkcs11.ObjectClass.PUBLIC_KEY, label=name)
            return self._key(public, name)

    def _destroy(self, name: str) -> None:
        with self._opened() as session:
            for each in list(session.get_objects({pkcs11.Attribute.LABEL: name})):
                each.destroy()

    def _key(self, public: Any, name: str) -> PrivateKey:
        """The key whose public part is in the token; ``name`` finds the private one."""
        encode = encode_ec_public_key
        if public.key_type == pkcs11.KeyType.RSA:
            encode = encode_rsa_public_key
        found = serialization.load_der_public_key(encode(public))
        return remote_key(found, partial(self._signature, name))

    def _signature(self, name: str, digest: bytes, algorithm: str) -> bytes:
        with self._opened() as session:
            key = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, label=name)
            if key.key_type == pkcs11.KeyType.RSA:
                padded = DIGEST_INFO[algorithm] + digest
                return bytes(key.sign(padded, mechanism=pkcs11.Mechanism.RSA_PKCS))
            raw = key.sign(digest, mechanism=pkcs11.Mechanism.ECDSA)
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """The session, for one thread at a time; opened anew after a failure."""
        with self._lock:
            try:
                if self._session is None:
                    self._session = self._open()
                yield self._session
            except (pkcs11.PKCS11Error, RuntimeError) as error:
                if not isinstance(error, pkcs11.NoSuchKey):
                    self._close()
                told = str(error) or type(error).__name__
                raise KeyUnavailable(f"PKCS #11 token {self.token!r}: {told}") from error

    def _open(self) -> Any:
        """A login is the process's: another session may have made it."""
        token = pkcs11.lib(str(self.module)).get_token(token_label=self.token)
        try:
            return token.open(rw=True, user_pin=self.pin)
        except pkcs11.UserAlreadyLoggedIn:
            return token.open(rw=True)

    def _close(self) -> None:
        session, self._session = self._session, None
        with suppress(pkcs11.PKCS11Error, RuntimeError):
            if session is not None:
                session.close()

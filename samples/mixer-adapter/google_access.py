"""Access tokens of Google Cloud, by the key of a service account or from the machine."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
METADATA = "http://metadata.google.internal"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EARLY_SECONDS = 60


def assertion(account: Mapping[str, Any], at: int) -> str:
    """What a service account says of itself (RFC 7523), good for an hour."""
    claims = {
        "iss": account["client_email"],
        "scope": SCOPE,
        "aud": account["token_uri"],
        "iat": at,
        "exp": at + 3600,
    }
    head = {"alg": "RS256", "typ": "JWT", "kid": account.get("private_key_id", "")}
    said = b".".join(_encoded(json.dumps(each).encode()) for each in (head, claims))
    key: Any = serialization.load_pem_private_key(account["private_key"].encode(), None)
    signature = key.sign(said, padding.PKCS1v15(), hashes.SHA256())
    return (said + b"." + _encoded(signature)).decode()


def _encoded(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


class Tokens:
    """The token of the moment, renewed a minute before it ends."""

    def __init__(self, key_file: str, metadata: str = METADATA) -> None:
        """``key_file`` is a service account's, "" for the account of the machine."""
        self._key_file = key_file
        self._metadata = metadata
        self._token, self._until = "", 0.0

    async def headers(self, session: aiohttp.ClientSession) -> dict[str, str]:
        """The header of a call; aiohttp.ClientError or OSError if there is no token."""
        now = time.monotonic()
        if now >= self._until:
            answer = await (self._signed(session) if self._key_file else self._own(session))
            self._token = answer["access_token"]
            self._until = now + max(float(answer.get("expires_in", 0)) - EARLY_SECONDS, 0)
        return {"authorization": f"Bearer {self._token}"}

    async def _signed(self, session: aiohttp.ClientSession) -> Mapping[str, Any]:
        account = json.loads(Path(self._key_file).read_text())
        form = {"grant_type": GRANT, "assertion": assertion(account, int(time.time()))}
        async with session.post(account["token_uri"], data=form, raise_for_status=True) as answer:
            found: Mapping[str, Any] = await answer.json()
        return found

    async def _own(self, session: aiohttp.ClientSession) -> Mapping[str, Any]:
        url = f"{self._metadata}/computeMetadata/v1/instance/service-accounts/default/token"
        headers = {"Metadata-Flavor": "Google"}
        async with session.get(url, headers=headers, raise_for_status=True) as answer:
            found: Mapping[str, Any] = await answer.json()
        return found

"""Signatures of requests to AWS (AWS Signature Version 4)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Credentials:
    """Who signs for what."""

    access_key: str
    secret_key: str = field(repr=False)
    region: str
    service: str
    session_token: str = field(default="", repr=False)


def authorization(
    method: str, path: str, headers: Mapping[str, str], body: bytes, credentials: Credentials
) -> str:
    """The header `authorization` of a request without query.

    ``headers`` have lower-case names, `host` and `x-amz-date` (20150830T123600Z) among them; all
    are signed.
    """
    at = headers["x-amz-date"]
    names = ";".join(sorted(headers))
    canonical = "\n".join(
        (
            method,
            path,
            "",
            *(f"{name}:{headers[name].strip()}" for name in sorted(headers)),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        )
    )
    scope = f"{at[:8]}/{credentials.region}/{credentials.service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{credentials.secret_key}".encode()
    for step in scope.split("/"):
        key = _keyed(key, step)
    signature = _keyed(key, f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{digest}").hex()
    return (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )


def _keyed(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()

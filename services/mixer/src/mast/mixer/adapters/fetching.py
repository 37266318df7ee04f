"""Lists, spans and tokens over HTTP."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from datetime import timedelta

import aiohttp

from mast.mixer.adapters.listchecker import Fetched

# Lists longer than this are refused.
MAX_BYTES = 16 << 20


async def fetch(
    url: str, timeout: timedelta = timedelta(seconds=5), max_bytes: int = MAX_BYTES
) -> Fetched:
    """GET a URL; OSError if there is no whole answer in time or it is too long."""
    limit = aiohttp.ClientTimeout(total=timeout.total_seconds())
    try:
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(url) as response:
            body = b""
            while len(body) <= max_bytes and (more := await response.content.read(max_bytes + 1)):
                body += more
            status = response.status
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise OSError(f"could not fetch {url}: {str(error) or type(error).__name__}") from error
    if len(body) > max_bytes:
        raise OSError(f"could not fetch {url}: longer than {max_bytes} bytes")
    return Fetched(status, body)


async def post(
    url: str,
    body: bytes,
    content_type: str,
    timeout: timedelta = timedelta(seconds=10),
    *,
    headers: Iterable[tuple[str, str]] = (),
    tls: ssl.SSLContext | None = None,
    server_name: str = "",
) -> None:
    """POST a body; OSError unless the answer is a success in time. Redirects are not followed.

    ``tls`` None: by the authorities of the machine; ``server_name`` is that of the URL by default.
    """
    limit = aiohttp.ClientTimeout(total=timeout.total_seconds())
    told = [*headers, ("Content-Type", content_type)]
    try:
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.post(
                url,
                data=body,
                headers=told,
                ssl=tls or True,
                server_hostname=server_name or None,
                allow_redirects=False,
            ) as response,
        ):
            if not 200 <= response.status < 300:
                raise OSError(f"{url} answers {response.status}")
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise OSError(f"could not post to {url}: {str(error) or type(error).__name__}") from error


async def token(
    url: str, form: Mapping[str, str], timeout: timedelta = timedelta(seconds=5)
) -> tuple[str, float]:
    """An access token and its seconds (RFC 6749, 5.1), without them 0; OSError if there is none."""
    limit = aiohttp.ClientTimeout(total=timeout.total_seconds())
    try:
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.post(url, data=dict(form)) as response,
        ):
            if not response.ok:
                raise OSError(f"{url} answers {response.status}")
            answer = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise OSError(f"no token from {url}: {str(error) or type(error).__name__}") from error
    if not isinstance(answer, dict) or not isinstance(answer.get("access_token"), str):
        raise OSError(f"no token from {url}: the answer has no access_token")
    seconds = answer.get("expires_in", 0)
    return answer["access_token"], float(seconds) if isinstance(seconds, int | float) else 0.0

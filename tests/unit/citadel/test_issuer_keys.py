"""Keys of issuers: fetched in the background, kept, renewed; files of keys (A5).

Section numbers are those of citadel-and-agent.md.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from structlog.testing import capture_logs

from mast.citadel.core.jwt import JwtRule
from mast.citadel.core.refusals import Unauthenticated
from mast.citadel.store.issuer_keys import (
    MAX_BYTES,
    FetchedKeys,
    FileKeys,
    checked_url,
    keys_of,
)
from tests.support.until import until
from tests.unit.citadel.examples import private_key
from tests.unit.citadel.test_jwt import P256, RSA, jwk


@dataclass
class Site:
    """An issuer on this machine; what it answers and how often it was asked."""

    url: str = ""
    jwks: Any = field(default_factory=lambda: {"keys": [jwk(RSA, kid="one")]})
    status: int = 200
    issuer: str = ""
    asked: int = 0

    async def discovery(self, _: web.Request) -> web.Response:
        keys = f"{self.url}/keys"
        return web.json_response({"issuer": self.issuer or self.url, "jwks_uri": keys})

    async def keys(self, _: web.Request) -> web.Response:
        self.asked += 1
        body = self.jwks if isinstance(self.jwks, str) else json.dumps(self.jwks)
        headers = {"Location": "/elsewhere"} if self.status == 302 else {}
        return web.Response(text=body, status=self.status, headers=headers)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    found = Site()
    application = web.Application()
    application.router.add_get("/.well-known/openid-configuration", found.discovery)
    application.router.add_get("/keys", found.keys)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


@asynccontextmanager
async def fetching(
    site: Site, *, by_uri: bool = True, **changes: Any
) -> AsyncIterator[FetchedKeys]:
    rule = JwtRule(site.url, ("istio-ca",), f"{site.url}/keys" if by_uri else "")
    changes.setdefault("patience", timedelta(seconds=20))
    keys = FetchedKeys(rule=rule, random=lambda: 0.0, **changes)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(keys.run())
        try:
            yield keys
        finally:
            running.cancel()


async def ids(keys: FetchedKeys, key_id: str = "") -> list[str]:
    return [key.id for key in await keys.keys(key_id)]


@pytest.mark.parametrize("by_uri", [True, False], ids=["jwks-uri", "discovery"])
async def test_keys_are_fetched_once_for_many_tokens(site: Site, by_uri: bool) -> None:
    async with fetching(site, by_uri=by_uri) as keys:
        for _ in range(3):
            assert await ids(keys, "one") == ["one"]
    assert site.asked == 1


async def test_a_new_key_is_looked_for_but_not_for_every_made_up_name(site: Site) -> None:
    async with fetching(site) as keys:
        assert await ids(keys, "one") == ["one"]
        site.jwks = {"keys": [jwk(RSA, kid="one"), jwk(P256, kid="two")]}
        keys.pause = timedelta()
        assert await ids(keys, "two") == ["one", "two"]
        asked = site.asked
        keys.pause = timedelta(hours=1)
        for name in ("three", "four", "five"):
            assert await ids(keys, name) == ["one", "two"]
        assert site.asked == asked


async def test_an_issuer_that_is_away_is_told_once_and_its_keys_are_kept(site: Site) -> None:
    with capture_logs() as logs:
        interval = timedelta(milliseconds=1)
        async with fetching(site, interval=interval) as keys:
            assert await ids(keys) == ["one"]
            site.status = 500
            asked = site.asked
            await until(lambda: site.asked > asked + 1)
            assert await ids(keys) == ["one"]
    assert [log["event"] for log in logs].count("keys.unavailable") == 1


@pytest.mark.parametrize("kind", ["status", "redirect", "nonsense", "symmetric", "large"])
async def test_answers_that_are_no_keys(site: Site, kind: str) -> None:
    if kind == "status":
        site.status = 404
    if kind == "redirect":
        site.status = 302
    if kind == "nonsense":
        site.jwks = "]"
    if kind == "symmetric":
        site.jwks = {"keys": [{"kty": "oct", "k": "AAAA", "kid": "one"}]}
    if kind == "large":
        site.jwks = " " * (MAX_BYTES + 1)
    with capture_logs() as logs:
        async with fetching(site, patience=timedelta(milliseconds=200)) as keys:
            with pytest.raises(Unauthenticated) as caught:
                await keys.keys("one")
            await until(lambda: bool(logs))
    assert "could not be had" in caught.value.reason
    assert logs[0]["event"] == "keys.unavailable"


async def test_a_discovery_document_of_another_issuer(site: Site) -> None:
    site.issuer = "https://other.example"
    async with fetching(site, by_uri=False, patience=timedelta(milliseconds=200)) as keys:
        with pytest.raises(Unauthenticated):
            await keys.keys("one")
    assert site.asked == 0


@pytest.mark.parametrize(
    "url", ["https://a.example/keys", "http://localhost:1/", "http://127.0.0.1/", "http://[::1]/"]
)
def test_urls_that_are_read(url: str) -> None:
    assert checked_url(url) == url


@pytest.mark.parametrize(
    "url", ["http://a.example/keys", "file:///etc/passwd", "https://", "keys", "http://10.0.0.1/"]
)
def test_urls_that_are_not(url: str) -> None:
    with pytest.raises(ValueError, match="want https"):
        checked_url(url)


def public_pem(kind: str) -> bytes:
    public = private_key(kind).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_files_of_keys() -> None:
    assert len(keys_of(public_pem("RSA2048") + public_pem("P256"))) == 2
    assert len(keys_of(json.dumps({"keys": [jwk(P256)]}).encode())) == 1
    for text in (b"", b"{}", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        with pytest.raises(ValueError, match=r"[Kk]ey|JSON"):
            keys_of(text)


async def test_a_file_is_read_again_and_a_damaged_one_left_out(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(json.dumps({"keys": [jwk(RSA, kid="one")]}))
    keys = FileKeys(file)
    keys.load()
    assert [key.id for key in await keys.keys("")] == ["one"]
    file.write_text(json.dumps({"keys": [jwk(RSA, kid="two")]}))
    assert [key.id for key in await keys.keys("")] == ["two"]
    file.write_text("]")
    with capture_logs() as logs:
        assert [key.id for key in await keys.keys("")] == ["two"]
    assert logs[0]["event"] == "keys.rejected"

"""Key sets are fetched over HTTP, from servers that do their worst (pilot.md J3)."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from mast.common.jwks import MAX_BYTES
from mast.pilot.core.model.public_keys import KeySource
from mast.pilot.store.key_fetch import FetchFailed, KeyFetch
from tests.support.etcd_server import free_port
from tests.support.http_probe import serving
from tests.support.http_site import http_site
from tests.support.pki import DAY, Ca
from tests.support.tls_contexts import tls_server
from tests.support.tokens import Issuer

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG = timedelta(seconds=10)
ISSUER = Issuer("https://issuer.test")
CA = Ca.root()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answer(text: str = ISSUER.jwks, **more: object) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        del request
        return web.Response(text=text, **more)  # type: ignore[arg-type]

    return handle


def elsewhere(location: str) -> Handler:
    return answer(status=302, headers={"location": location})


async def discovery(request: web.Request) -> web.Response:
    return web.json_response({"jwks_uri": f"http://{request.host}/good?key=secret"})


async def silent(request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError(request)


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


async def torn(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


WELL_KNOWN = "/.well-known/openid-configuration"
PAGES = {
    "/good": answer(),
    "/redirected": elsewhere("/good"),
    "/around": elsewhere("/around"),
    "/to-a-file": elsewhere("file:///etc/passwd"),
    "/no-content": answer(status=204),
    "/broken": answer(status=503),
    "/packed": answer(headers={"content-encoding": "gzip"}),
    "/page": answer("<html>secret</html>"),
    "/no-keys": answer('{"keys": []}'),
    "/shared-keys": answer(Issuer("a", "HS256").jwks),
    "/endless": endless,
    "/silent": silent,
    "/torn": torn,
    f"/issuer{WELL_KNOWN}": discovery,
    f"/not-json{WELL_KNOWN}": answer("{"),
    f"/a-list{WELL_KNOWN}": answer("[]"),
    f"/nowhere{WELL_KNOWN}": answer('{"jwks_uri": "file:///etc/passwd"}'),
}


def pages() -> web.Application:
    application = web.Application()
    for path, handler in PAGES.items():
        application.router.add_get(path, handler)
    return application


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[str]:
    async with http_site(pages()) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(KeySource(jwks_uri="/good"), id="uri"),
        pytest.param(KeySource(jwks_uri="/redirected"), id="redirected"),
        pytest.param(KeySource(issuer="/issuer"), id="discovery"),
        pytest.param(KeySource(issuer="/issuer/"), id="discovery-with-slash"),
    ],
)
async def test_keys(site: str, source: KeySource) -> None:
    found = await KeyFetch()(at(site, source), LONG)
    assert (found.number, found.defects) == (1, ())


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        pytest.param(KeySource(jwks_uri="/nothing"), "/nothing: HTTP status 404", id="not-found"),
        pytest.param(KeySource(jwks_uri="/broken"), "/broken: HTTP status 503", id="broken"),
        pytest.param(
            KeySource(jwks_uri="/no-content"), "/no-content: HTTP status 204", id="no-content"
        ),
        pytest.param(KeySource(jwks_uri="/page?a=secret"), "/page: not JSON: ", id="html"),
        pytest.param(KeySource(jwks_uri="/no-keys"), "/no-keys: no usable key", id="no-keys"),
        pytest.param(
            KeySource(jwks_uri="/shared-keys"),
            "/shared-keys: no usable key: keys[0] is symmetric, but published",
            id="published-secrets",
        ),
        pytest.param(KeySource(jwks_uri="/packed"), "/packed: compressed", id="compressed"),
        pytest.param(
            KeySource(jwks_uri="/endless"), f"/endless: longer than {MAX_BYTES} bytes", id="endless"
        ),
        pytest.param(
            KeySource(jwks_uri="/torn"), "/torn: the server closed the connection", id="torn"
        ),
        pytest.param(KeySource(jwks_uri="/around"), "/around: more than 5 redirects", id="circle"),
        pytest.param(
            KeySource(jwks_uri="/to-a-file"), "/to-a-file: redirects to file:", id="to-a-file"
        ),
        pytest.param(
            KeySource(issuer="/page"), f"/page{WELL_KNOWN}: HTTP status 404", id="no-discovery"
        ),
        pytest.param(KeySource(issuer="/not-json"), f"{WELL_KNOWN}: not JSON", id="half-json"),
        pytest.param(KeySource(issuer="/a-list"), f"{WELL_KNOWN}: 'jwks_uri' is", id="list"),
        pytest.param(KeySource(issuer="/nowhere"), f"{WELL_KNOWN}: 'jwks_uri' is", id="file"),
    ],
)
async def test_reasons(site: str, source: KeySource, reason: str) -> None:
    """They name the place and nothing secret."""
    with pytest.raises(FetchFailed) as failure:
        await KeyFetch()(at(site, source), LONG)
    assert reason in str(failure.value)
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00\xff\x15\x03\x01", id="bytes"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", id="ssh"),
        pytest.param(b"HTTP/1.1 2000 OK\r\n\r\n", id="status-too-long"),
        pytest.param(b"HTTP/9.9 200 OK\r\n\r\n", id="version"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx\r\n\r\n", id="header-without-value"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", id="long-header"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", id="negative-length"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", id="half-a-body"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", id="no-chunk"),
        pytest.param(b"HTTP/1.1 302 Found\r\nlocation: http://[\r\n\r\n", id="bad-location"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe", id="no-text"),
    ],
)
async def test_servers_that_speak_otherwise(said: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async with serving(answer) as port:
        with pytest.raises(FetchFailed):
            await KeyFetch()(KeySource(jwks_uri=f"http://127.0.0.1:{port}/"), LONG)


async def test_no_answer(site: str) -> None:
    with pytest.raises(FetchFailed, match=r"no answer within 0\.1s"):
        await KeyFetch()(KeySource(jwks_uri=f"{site}/silent"), timedelta(seconds=0.1))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        pytest.param("http://127.0.0.1:PORT/", "connection refused", id="refused"),
        pytest.param("http://127.1/", "not a URL", id="half-an-address"),
        pytest.param("http://[::1/", "not a URL", id="half-a-bracket"),
    ],
)
async def test_nobody_there(url: str, reason: str) -> None:
    with pytest.raises(FetchFailed, match=reason):
        await KeyFetch()(KeySource(jwks_uri=url.replace("PORT", str(free_port()))), LONG)


async def test_no_such_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's resolver is not asked: it may wait for servers that are not there."""

    def unknown(*asked: object, **how: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, f"unknown: {asked} {how}")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(FetchFailed, match="the host name is not found"):
        await KeyFetch()(KeySource(jwks_uri="http://nobody.test/"), LONG)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("127.0.0.1", id="address"),
        pytest.param("localhost", id="name"),
        pytest.param("[::ffff:127.0.0.1]", id="mapped-address"),
    ],
)
async def test_blocked_addresses(site: str, host: str) -> None:
    """Whatever name leads there (Istio: BLOCKED_CIDRS_IN_JWKS_URIS)."""
    fetch = KeyFetch(blocked=[ip_network("127.0.0.0/8"), ip_network("::1")])
    url = f"{site.replace('127.0.0.1', host)}/good"
    with pytest.raises(FetchFailed, match=r"address (127\.0\.0\.1|::1) is blocked by"):
        await fetch(KeySource(jwks_uri=url), LONG)


async def test_redirects_do_not_get_past_the_block(site: str) -> None:
    application = web.Application()
    application.router.add_get("/", elsewhere(f"{site}/good"))
    # A network with this one address: the first server is at another.
    fetch = KeyFetch(blocked=[ip_network("127.0.0.1")])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.2", 0).start()
        url = f"http://127.0.0.2:{runner.addresses[0][1]}/"
        with pytest.raises(FetchFailed, match="is blocked by"):
            await fetch(KeySource(jwks_uri=url), LONG)
    finally:
        await runner.cleanup()


@pytest.fixture
def roots_file(tmp_path: Path) -> Path:
    path = tmp_path / "roots.pem"
    path.write_bytes(CA.pem)
    return path


async def test_tls_is_verified(roots_file: Path) -> None:
    good, other_name, old = (
        tls_server(each)
        for each in (
            CA.leaf(dns=["localhost"]),
            CA.leaf(dns=["elsewhere.test"]),
            CA.leaf(dns=["localhost"], valid=(-2 * DAY, -DAY)),
        )
    )
    assert await outcome(good, roots_file) == "1 key"
    assert "certificate is not trusted" in await outcome(good, None)
    assert "certificate is not trusted: Hostname mismatch" in await outcome(other_name, roots_file)
    assert "certificate is not trusted: certificate has expired" in await outcome(old, roots_file)


async def test_redirects_stay_on_tls(site: str, roots_file: Path) -> None:
    application = web.Application()
    application.router.add_get("/", elsewhere(f"{site}/good"))
    async with http_site(application, tls_server(CA.leaf(dns=["localhost"]))) as port:
        source = KeySource(jwks_uri=f"https://localhost:{port}/")
        with pytest.raises(FetchFailed, match="redirects to http:"):
            await KeyFetch(roots_file=roots_file)(source, LONG)


async def outcome(server: ssl.SSLContext, roots_file: Path | None) -> str:
    async with http_site(pages(), server) as port:
        source = KeySource(jwks_uri=f"https://localhost:{port}/good")
        try:
            found = await KeyFetch(roots_file=roots_file)(source, LONG)
        except FetchFailed as error:
            return str(error)
        return f"{found.number} key"


def at(site: str, source: KeySource) -> KeySource:
    return KeySource(*(site + each if each else "" for each in source))

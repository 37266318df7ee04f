"""What a real Envoy's check cache reads, and what Mixer is told (mixer_proxy.md K, column Lua)."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from mast.mixer.core.engine import (
    Condition,
    Reference,
)
from tests.integration.mixer.bench import CASE
from tests.integration.mixer.faces import (
    CALLER,
    CLAIMS,
    FRONT,
    ISSUER,
    RATINGS,
    SERVICE,
    SNI,
    STRANGER,
    Site,
    faces,
)
from tests.support.mixer_mesh import (
    allow,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with faces(tmp_path_factory.mktemp("envoy")) as running:
        yield running


A, E = Condition.ABSENCE, Condition.EXACT
GRPC_TYPE = "content-type: application/grpc"


@dataclass(frozen=True)
class Sent:
    """What of a request a verdict may depend on."""

    path: str = "/a?q=1"
    lines: Sequence[str] = ("user-agent: tests",)
    method: str = "GET"
    uri: str = f"spiffe://{FRONT}"
    source: str = CALLER
    server_name: str = SNI
    claims: Mapping[str, Any] | None = None

    async def to(self, site: Site, case: str) -> None:
        """Have it checked, or answered by the cache."""
        lines = [*self.lines, f"{CASE}: {case}"]
        if self.claims is not None:
            token = ISSUER.token({**CLAIMS, **self.claims})
            lines.append(f"authorization: Bearer {token}")
        await site.ask(
            self.path,
            *lines,
            method=self.method,
            source=self.source,
            context=site.client(self.uri),
            server_name=self.server_name,
        )


USUAL, ANONYMOUS = Sent(), Sent(uri="")
ELSEWHERE = Sent(uri="", source="127.0.0.1")
TOKEN = Sent(claims={})

# What a verdict depends on; requests that are alike in it; one that differs, None if none can.
READ: Sequence[tuple[Reference, Sent, Sent, Sent | None]] = (
    (Reference("request.path", None, E), USUAL, Sent(source=STRANGER), Sent(path="/a?q=2")),
    (Reference("request.url_path", None, E), USUAL, Sent(path="/a?q=2"), Sent(path="/b?q=1")),
    (Reference("request.query_params", "q", E), USUAL, Sent(path="/b?q=1&q=2"), Sent("/a?q=2")),
    (Reference("request.query_params", "p", A), USUAL, Sent("/b"), Sent("/a?p")),
    (Reference("request.query_params", None, A), Sent("/a"), Sent("/b?"), Sent("/a?x")),
    (Reference("request.method", None, E), USUAL, Sent("/b"), Sent(method="PUT")),
    (Reference("request.host", None, E), USUAL, Sent("/b"), Sent(lines=("host: other",))),
    (Reference("request.scheme", None, E), USUAL, Sent("/b"), None),
    (Reference("request.useragent", None, E), USUAL, Sent("/b"), Sent(lines=("user-agent: x",))),
    (Reference("request.referer", None, A), USUAL, Sent("/b"), Sent(lines=("referer: r",))),
    (
        Reference("request.id", None, E),
        Sent(lines=("x-request-id: 1",)),
        Sent("/b", ("x-request-id: 1",)),
        Sent(lines=("x-request-id: 2",)),
    ),
    (Reference("request.size", None, A), USUAL, Sent("/b"), Sent(lines=("content-length: 0",))),
    (
        Reference("request.headers", "x-user", E),
        Sent(lines=("x-user: a", "x-user: b")),
        Sent("/b", ("x-user: a,b",)),
        Sent(lines=("x-user: a",)),
    ),
    (Reference("request.headers", "x-no", A), USUAL, Sent("/b"), Sent(lines=("x-no: ",))),
    (
        Reference("context.protocol", None, E),
        Sent(lines=(GRPC_TYPE,)),
        Sent("/b", (f"{GRPC_TYPE}+proto",)),
        USUAL,
    ),
    (Reference("context.reporter.uid", None, E), USUAL, Sent("/b"), None),
    (Reference("context.reporter.kind", None, E), USUAL, Sent("/b"), None),
    (Reference("context.proxy_version", None, E), USUAL, Sent("/b"), None),
    (
        Reference("origin.ip", None, E),
        USUAL,
        Sent(lines=("x-forwarded-for: 9.9.9.9",)),
        Sent(source=STRANGER),
    ),
    (Reference("source.ip", None, A), USUAL, Sent("/b"), Sent(source=STRANGER)),
    (Reference("source.uid", None, E), USUAL, Sent("/b"), Sent(source="127.0.0.1")),
    (Reference("source.namespace", None, E), ANONYMOUS, Sent("/b", uri=""), ELSEWHERE),
    (
        Reference("source.uid", None, A),
        Sent(source=STRANGER),
        Sent("/b", source=STRANGER),
        Sent(lines=("x-mast-peer: kubernetes://p.web,",), source=STRANGER),
    ),
    (Reference("source.principal", None, E), USUAL, Sent("/b"), Sent(uri=f"spiffe://{RATINGS}")),
    (Reference("source.principal", None, A), ANONYMOUS, Sent("/b", uri=""), USUAL),
    (Reference("source.user", None, E), USUAL, Sent("/b"), ANONYMOUS),
    (Reference("destination.principal", None, E), USUAL, Sent("/b"), None),
    (Reference("destination.uid", None, E), USUAL, Sent("/b"), None),
    (Reference("destination.namespace", None, E), USUAL, Sent("/b"), None),
    (Reference("destination.mesh.id", None, E), USUAL, Sent("/b"), None),
    (Reference("destination.ip", None, E), USUAL, Sent("/b"), None),
    (Reference("destination.port", None, E), USUAL, Sent("/b"), None),
    *((Reference(name, None, E), USUAL, Sent("/b"), None) for name in SERVICE),
    (Reference("connection.mtls", None, E), USUAL, Sent("/b"), ANONYMOUS),
    (
        Reference("connection.requested_server_name", None, E),
        USUAL,
        Sent("/b"),
        Sent(server_name=""),
    ),
    (
        Reference("request.auth.principal", None, E),
        TOKEN,
        Sent("/b", claims={"level": 9}),
        Sent(claims={"sub": "other"}),
    ),
    (Reference("request.auth.principal", None, A), USUAL, Sent("/b"), TOKEN),
    (
        Reference("request.auth.audiences", None, E),
        TOKEN,
        Sent(claims={"aud": "shop"}),
        Sent(claims={"aud": ["bank", "shop"]}),
    ),
    (Reference("request.auth.presenter", None, E), TOKEN, Sent("/b", claims={}), USUAL),
    (
        Reference("request.auth.claims", "groups", E),
        TOKEN,
        Sent(claims={"groups": "a,b"}),
        Sent(claims={"groups": ["a"]}),
    ),
    (Reference("request.auth.claims", None, A), USUAL, Sent("/b"), TOKEN),
)


def case_name(each: Any) -> str:
    """What a row is about."""
    reference: Reference = each[0]
    return f"{reference.name}-{reference.map_key or ''}-{reference.condition.name.lower()}"


@pytest.mark.parametrize("row", READ, ids=case_name)
async def test_the_cache_reads_what_verdicts_depend_on(site: Site, row: Any) -> None:
    """A name that Envoy and Mixer read differently would never hit, or hit wrongly (K4, C2, C3)."""
    reference, first, alike, different = row
    case = case_name(row)
    site.verdicts[case] = allow(referenced=(reference,))
    for request, checks in ((first, 1), (alike, 1), (different, 2)):
        if request is not None:
            await request.to(site, case)
            assert len(site.cases(case)) == checks, request
    told = [each.get(reference.name) for each in site.cases(case)]
    if reference.map_key is None and different:
        assert told[0] != told[1]


@pytest.mark.parametrize(
    "reference",
    [
        pytest.param(Reference("request.time", None, E), id="time"),
        pytest.param(Reference("request.auth.raw_claims", None, A), id="text-of-a-token"),
        pytest.param(Reference("request.path", None, Condition.REGEX), id="pattern"),
    ],
)
async def test_what_the_cache_cannot_read_is_not_kept(site: Site, reference: Reference) -> None:
    """Each such request is checked (K4, C2)."""
    case = f"unread-{reference.name}"
    site.verdicts[case] = allow(referenced=(reference,))
    for count in (1, 2):
        await USUAL.to(site, case)
        assert len(site.cases(case)) == count

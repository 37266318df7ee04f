"""Claims about who may do what: tokens of users, and rules of both generations for services."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from mast.cli.demo.stage import Answer, Stage, statuses
from mast.cli.tokens import Algorithm, claims, new_key, signed

PAGE = "http://productpage:9080/api/v1/products/0"
DETAILS = "http://details:9080/details/0"
ISSUER = "https://bookinfo.example.com"
COUNT = 20

Verdict = tuple[str, bool]


async def tokens(stage: Stage) -> Verdict:
    """A good token lets jason in, and says to services behind who he is; all others are refused."""
    await stage.apply("networking/reviews-jason-v3.yaml")
    await stage.apply("security/tokens.yaml", "security/tokens-required.yaml")
    await stage.until(lambda: _always(stage, PAGE, 403))
    await stage.settled()
    found = {
        what: await stage.send(PAGE, count=COUNT, headers=_bearer(token))
        for what, token in _tokens(stage).items()
    }
    await stage.delete("security/tokens.yaml", "security/tokens-required.yaml")
    await stage.until(lambda: _always(stage, PAGE, 200))
    expected = dict.fromkeys(found, 401) | {"none": 403, "good": 200}
    versions = {_version(each) for each in found["good"]}
    evidence = (
        "; ".join(f"{what} token -> {statuses(answers)}" for what, answers in found.items())
        + f"; jason's reviews are of {', '.join(sorted(versions))}"
    )
    held = all(_all(answers, expected[what]) for what, answers in found.items())
    return evidence, held and versions == {"v3"}


def _tokens(stage: Stage) -> Mapping[str, str]:
    """A token of each kind, by what is wrong with it."""
    key = json.loads((stage.samples / "security" / "demo.jwk").read_text())
    hour = timedelta(hours=1)
    now = datetime.now(tz=UTC)  # noqa: TID251 - tokens count by the real time
    said = claims(ISSUER, "jason", (), now, hour)
    unsigned = [{"alg": "none", "typ": "JWT"}, said]
    return {
        "none": "",
        "good": signed(said, key),
        "expired": signed(claims(ISSUER, "jason", (), now - 2 * hour, hour), key),
        "forged": signed(said, new_key(Algorithm.ES256, key["kid"])),
        "unsigned": "".join(f"{_encoded(each)}." for each in unsigned),
    }


def _encoded(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def _bearer(token: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


def _version(answer: Answer) -> str:
    reviews = answer.document.get("reviews")
    return str(reviews.get("version")) if isinstance(reviews, dict) else "nobody"


async def modern(stage: Stage) -> Verdict:
    """An AuthorizationPolicy lets productpage call details, and nobody else."""
    return await _only_productpage(stage, "security/details-callers.yaml")


async def legacy(stage: Stage) -> Verdict:
    """So do ServiceRole, ServiceRoleBinding and ClusterRbacConfig."""
    return await _only_productpage(stage, "security/details-callers-1.4.yaml")


async def _only_productpage(stage: Stage, rules: str) -> Verdict:
    """The load generator is refused what productpage may do, until the rules are gone."""
    await stage.apply(rules)
    await stage.until(lambda: _always(stage, DETAILS, 403))
    await stage.settled()
    direct = await stage.send(DETAILS, count=COUNT)
    pages = await stage.send(PAGE, count=COUNT)
    await stage.delete(rules)
    await stage.until(lambda: _always(stage, DETAILS, 200))
    after = await stage.send(DETAILS, count=COUNT)
    through = Counter(each.document.get("details_status", each.status) for each in pages)
    evidence = (
        f"loadgen -> {statuses(direct)} ({direct[-1].body.strip()}); productpage -> "
        f"{', '.join(f'{status}: {count}' for status, count in through.items())}; "
        f"without the rules loadgen -> {statuses(after)}"
    )
    return evidence, _all(direct, 403) and through == {200: COUNT} and _all(after, 200)


async def _always(stage: Stage, url: str, status: int) -> bool:
    """Whether all of some requests get that status.

    Connections that were open before a change end with their next request, which is still judged
    by the old rules.
    """
    return _all(await stage.send(url, count=2 * COUNT, concurrency=8), status)


def _all(answers: list[Answer], status: int) -> bool:
    return all(answer.status == status for answer in answers)

"""Who asks, as RBAC principals: one builder per field of a rule (pilot.md J4).

Values may be patterns (see `values`); a value that Envoy has nothing for raises `Unusable`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from envoy.config.rbac.v3.rbac_pb2 import Principal
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher

from mast.pilot.core.security.authorization import metadata, values
from mast.pilot.core.security.authorization.logic import Logic
from mast.pilot.core.security.authorization.permissions import header_matcher
from mast.pilot.core.security.authorization.values import (
    ANY,
    Unusable,
    regex_matcher,
    string_matcher,
)

SPIFFE: Final = "spiffe://"
ISSUER: Final = "iss"
SUBJECT: Final = "sub"
AUDIENCE: Final = "aud"
PRESENTER: Final = "azp"

MAX_SLASHES: Final = 32
"""Of a request principal: each makes one more condition."""


def anything() -> Principal:
    """Whoever asks."""
    return Principal(any=True)


def nobody() -> Principal:
    """No one who can ask."""
    return negated(anything())


def all_of(conditions: Sequence[Principal]) -> Principal:
    """Who meets all conditions; anybody if there are none."""
    if len(conditions) == 1:
        return conditions[0]
    return Principal(and_ids=Principal.Set(ids=conditions)) if conditions else anything()


def any_of(conditions: Sequence[Principal]) -> Principal:
    """Who meets one of the conditions; nobody if there are none."""
    if len(conditions) == 1:
        return conditions[0]
    return Principal(or_ids=Principal.Set(ids=conditions)) if conditions else nobody()


def negated(condition: Principal) -> Principal:
    """Who does not meet the condition."""
    return Principal(not_id=condition)


LOGIC: Final = Logic(anything, all_of, any_of, negated)


# Of the connection


def identity(pattern: str) -> Principal:
    """A peer identity of mutual TLS, `TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT`."""
    return _authenticated(string_matcher(pattern, before=SPIFFE))


def namespace(pattern: str) -> Principal:
    """A namespace of peer identities, with `*` anywhere."""
    return _authenticated(regex_matcher(f".*/ns/{_with_wildcards(pattern)}/.*"))


def service_account(account_namespace: str, account: str) -> Principal:
    """A service account of peer identities, whatever the trust domain."""
    namespace, name = re.escape(account_namespace), re.escape(account)
    return _authenticated(regex_matcher(f"{SPIFFE}.+/ns/{namespace}/(.+/|)sa/{name}(/.+)?"))


def trust_domain(pattern: str) -> Principal:
    """A trust domain of peer identities."""
    if pattern != ANY and pattern.endswith(ANY):
        return _authenticated(StringMatcher(prefix=SPIFFE + pattern[:-1]))
    if pattern.startswith(ANY):
        return _authenticated(regex_matcher(f"{SPIFFE}[^/]*{re.escape(pattern[1:])}/.*"))
    return _authenticated(StringMatcher(prefix=f"{SPIFFE}{pattern}/"))


def source_ip(cidr: str) -> Principal:
    """The address of the connection's peer."""
    return Principal(direct_remote_ip=values.cidr_range(cidr))


def remote_ip(cidr: str) -> Principal:
    """The address of the original client, as X-Forwarded-For or the PROXY protocol tell."""
    return Principal(remote_ip=values.cidr_range(cidr))


# Of the request


def header(name: str, pattern: str) -> Principal:
    """A request header."""
    return Principal(header=header_matcher(name, pattern))


def request_principal(pattern: str) -> Principal:
    """A token's `ISSUER/SUBJECT`.

    Both may hold slashes, so each slash of the pattern is tried for the one between them.
    """
    if pattern.count("/") > MAX_SLASHES:
        raise Unusable(f"{pattern[:60]!r}… has more than {MAX_SLASHES} slashes")
    if pattern == ANY:
        return _issued(_present(), _present())
    if pattern.startswith(ANY):
        return any_of(list(_ending(pattern[1:])))
    if pattern.endswith(ANY):
        return any_of(list(_beginning(pattern[:-1])))
    return any_of([_issued(_exact(left), _exact(right)) for left, right in _splits(pattern)])


def audience(pattern: str) -> Principal:
    """An audience of a token."""
    return claim([AUDIENCE], pattern)


def presenter(pattern: str) -> Principal:
    """Whom a token was issued to."""
    return claim([PRESENTER], pattern)


def claim(path: Sequence[str], pattern: str) -> Principal:
    """A claim of a token by its name, or by the names above and its own: a text or list of them."""
    return _claimed(path, metadata.text_or_item(string_matcher(pattern)))


def _authenticated(matcher: StringMatcher) -> Principal:
    return Principal(authenticated=Principal.Authenticated(principal_name=matcher))


def _with_wildcards(pattern: str) -> str:
    return ".*".join(map(re.escape, pattern.split(ANY)))


def _ending(text: str) -> Iterator[Principal]:
    """The ways in which an issuer's and a subject's name may end with a text."""
    yield _issued(_present(), StringMatcher(suffix=text))
    for left, right in _splits(text):
        yield _issued(StringMatcher(suffix=left) if left else _present(), _exact(right))


def _beginning(text: str) -> Iterator[Principal]:
    """The ways in which an issuer's and a subject's name may begin with a text."""
    yield _issued(StringMatcher(prefix=text), _present())
    for left, right in _splits(text):
        yield _issued(_exact(left), StringMatcher(prefix=right) if right else _present())


def _splits(text: str) -> Iterator[tuple[str, str]]:
    for found in re.finditer("/", text):
        yield text[: found.start()], text[found.end() :]


def _issued(issuer: StringMatcher, subject: StringMatcher) -> Principal:
    return all_of(
        [
            _claimed([ISSUER], metadata.text(issuer)),
            _claimed([SUBJECT], metadata.text(subject)),
        ]
    )


def _claimed(path: Sequence[str], value: ValueMatcher) -> Principal:
    keys = [metadata.PAYLOAD, *path]
    return Principal(sourced_metadata=metadata.sourced(metadata.JWT, keys, value))


def _exact(text: str) -> StringMatcher:
    return StringMatcher(exact=text)


def _present() -> StringMatcher:
    return string_matcher(ANY)

"""Rules about tokens whose keys are missing, outdated or of no use (pilot.md J3, N15)."""

from collections.abc import Iterator
from typing import Any

from mast.common.jwks import NotAKeySet, key_set
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Config
from mast.pilot.core.model.public_keys import KeyFetching, PublicKeys, key_source, shown
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authentication.keys import keys_of
from mast.pilot.core.security.authentication.providers import RemoteKeys
from mast.pilot.core.security.authentication.sources import is_url, token_rules

_SHOWN_DEFECTS = 3


def findings(config: Config[Any], scope: Scope) -> Iterator[Finding]:
    """What is wrong with the keys of each rule of a policy, if its proxies do not fetch them."""
    for place, rule in token_rules(config.spec):
        if isinstance(keys_of(scope, rule), RemoteKeys):
            continue
        found, whence = _known(scope, rule)
        what, fault = _judged(found, whence)
        if fault is not None:
            yield Finding(
                fault=fault,
                key=rule.issuer or shown(rule.jwks_uri),
                message=f"{place}: {what}.",
                subject=config.meta.object_name,
            )


def _known(scope: Scope, rule: Any) -> tuple[PublicKeys, str]:
    """What is known of the keys of a rule, and where they are from."""
    source = key_source(rule)
    if source is None:
        return _own(rule.jwks), "jwks"
    if source.jwks_uri and scope.mesh.key_fetching is KeyFetching.ENVOY:
        return PublicKeys(failure="no service of the mesh has its host and port"), str(source)
    if not is_url(source):
        why = f"the issuer {rule.issuer!r} is no URL, and there is neither jwks nor jwksUri"
        return PublicKeys(failure=why), source.issuer
    return scope.public_keys(source), str(source)


def _own(text: str) -> PublicKeys:
    """What the rule itself holds."""
    try:
        found = key_set(text, published=False)
    except NotAKeySet as error:
        return PublicKeys(failure=str(error))
    defects = tuple(f"{each.where} {each.message}" for each in found.defects if each.fatal)
    if not found.number:
        return PublicKeys(failure="; ".join(defects[:_SHOWN_DEFECTS]) or "there are none")
    return PublicKeys(found.text, defects=defects)


def _judged(found: PublicKeys, whence: str) -> tuple[str, Fault | None]:
    reason = found.failure.removeprefix(f"{whence}: ")
    if not found.text:
        return f"every token is refused for want of keys of {whence}: {reason}", Fault.MISSING_KEYS
    if found.failure:
        return f"keys of {whence} are those fetched last: {reason}", Fault.OLD_KEYS
    if found.defects:
        shown_defects = "; ".join(found.defects[:_SHOWN_DEFECTS])
        return f"keys of {whence} that cannot be used: {shown_defects}", Fault.UNUSABLE_KEYS
    return "", None

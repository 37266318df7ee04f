"""Secrets that users keep in the mesh, as Envoy's secret discovery service has them (pilot.md I5).

Names are those of pilot.md C: `kubernetes://NAME` of the proxy's own namespace,
`kubernetes://NS/NAME`, `kubernetes-gateway://NS/NAME`, `configmap://NS/NAME`, and each of them with
the suffix `-cacert` for the roots that go with it.
"""

from dataclasses import dataclass
from enum import StrEnum

from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from mast.common.credentials import Credential, credential, defects
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.finding import ObjectName
from mast.pilot.core.names import SDS_CA_SUFFIX
from mast.pilot.core.scope.scope import Scope

_GATEWAY = ("gateway.networking.k8s.io", "Gateway")
_SECRET = ("", "Secret")


class Scheme(StrEnum):
    """Where a credential is kept, and who may use it."""

    KUBERNETES = "kubernetes"
    """A Secret, for proxies of its namespace."""
    GATEWAY = "kubernetes-gateway"
    """The same, and for those that its namespace grants it to."""
    CONFIG_MAP = "configmap"
    """Roots in a ConfigMap, for everybody."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What an SDS name stands for; `roots` tells that roots are meant, not a certificate."""

    scheme: Scheme
    namespace: str
    name: str
    roots: bool


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why proxies of a namespace get nothing under an SDS name; `subject` is the object meant."""

    namespace: str
    reason: str
    subject: ObjectName | None = None


def reference(name: str, namespace: str) -> Reference | None:
    """What an SDS name means to proxies of a namespace, None if it is none of ours."""
    scheme, separator, rest = name.partition("://")
    if not separator or scheme not in set(Scheme):
        return None
    owner, slash, own = rest.rpartition("/")
    if not own or "/" in owner or (slash and not owner):
        return None
    roots = own.endswith(SDS_CA_SUFFIX) or scheme == Scheme.CONFIG_MAP
    return Reference(Scheme(scheme), owner or namespace, own, roots)


def secret(name: str, scope: Scope) -> Secret | Unavailable:
    """The secret of an SDS name for proxies of the scope's namespace, or why there is none.

    One that Envoy would reject is left out: it would void all that it is sent with (pilot.md B2).
    """
    found = reference(name, scope.namespace)
    if found is None:
        return Unavailable(scope.namespace, "the name has no form that the mesh knows")
    subject = _subject(found)
    if not _may_use(scope, found):
        reason = f"{subject} is of another namespace, which does not grant it"
        return Unavailable(scope.namespace, reason, subject)
    held = _roots(scope, found) if found.roots else _certificate(scope, found)
    if held is None:
        wanted = "roots" if found.roots else "a certificate with its key"
        return Unavailable(scope.namespace, f"no {subject} holds {wanted}", subject)
    for defect in defects(held):
        reason = f"{defect.name} of {subject} {defect.message}"
        return Unavailable(scope.namespace, reason, subject)
    return message(name, held)


def _subject(found: Reference) -> ObjectName:
    of_map = found.scheme is Scheme.CONFIG_MAP
    collection = collection_names.CONFIG_MAPS if of_map else collection_names.SECRETS
    return ObjectName(collection, found.namespace, found.name.removesuffix(SDS_CA_SUFFIX))


def _may_use(scope: Scope, found: Reference) -> bool:
    """Its own namespace's always; a grant for a Secret is one for the roots in it, too."""
    if found.scheme is Scheme.CONFIG_MAP or found.namespace == scope.namespace:
        return True
    return found.scheme is Scheme.GATEWAY and _granted(scope, found)


def _granted(scope: Scope, found: Reference) -> bool:
    """A ReferenceGrant lets Gateways of the proxy's namespace use the Secret (pilot.md I5)."""
    names = {"", found.name, found.name.removesuffix(SDS_CA_SUFFIX)}
    for grant in scope.configs(collection_names.REFERENCE_GRANTS, found.namespace):
        sources = {(each.group, each.kind, each.namespace) for each in getattr(grant.spec, "from")}
        targets = {each.name for each in grant.spec.to if (each.group, each.kind) == _SECRET}
        if (*_GATEWAY, scope.namespace) in sources and targets & names:
            return True
    return False


def _certificate(scope: Scope, found: Reference) -> Credential | None:
    held = scope.secret(found.namespace, found.name)
    if held is None or held.chain is None or held.key is None:
        return None
    return Credential(chain=held.chain, key=held.key, staple=held.staple)


def _roots(scope: Scope, found: Reference) -> Credential | None:
    """Those of an object of the whole name, else of the one without the suffix (pilot.md I5)."""
    for name in dict.fromkeys((found.name, found.name.removesuffix(SDS_CA_SUFFIX))):
        held = _held(scope, found, name)
        if held is not None and held.roots is not None:
            return Credential(roots=held.roots, crl=held.crl)
    return None


def _held(scope: Scope, found: Reference, name: str) -> Credential | None:
    if found.scheme is not Scheme.CONFIG_MAP:
        return scope.secret(found.namespace, name)
    config = scope.config(collection_names.CONFIG_MAPS, found.namespace, name)
    if config is None:
        return None
    texts = {key: text.encode() for key, text in config.spec.data.items()}
    return credential({**texts, **config.spec.binary_data})


def message(name: str, held: Credential) -> Secret:
    """The roots of a credential if it has any, else its certificate with key and staple."""
    made = Secret(name=name)
    if held.roots is not None:
        validation = CertificateValidationContext()
        validation.trusted_ca.inline_bytes = held.roots.content
        if held.crl is not None:
            validation.crl.inline_bytes = held.crl.content
        made.validation_context.CopyFrom(validation)
    elif held.chain is not None and held.key is not None:
        certificate = made.tls_certificate
        certificate.certificate_chain.inline_bytes = held.chain.content
        certificate.private_key.inline_bytes = held.key.content
        if held.staple is not None:
            certificate.ocsp_staple.inline_bytes = held.staple.content
    return made

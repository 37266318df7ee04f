"""Whether a caller may ask for another identity than its own, and who can tell (A4).

Section numbers are those of citadel-and-agent.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mast.citadel.core.authn import Caller
from mast.citadel.core.impersonation import Pod, check_neighbour, node_of, target, trusted_pod
from mast.citadel.core.refusals import ImpersonationRefused
from mast.citadel.core.reviews import Unreviewable
from mast.common.identity.spiffe import SpiffeId


class Pods(Protocol):
    """The pods of clusters; "" is the local one. Both raise Unreviewable if that cannot be told."""

    async def pod(self, cluster: str, namespace: str, name: str) -> Pod | None:
        """One pod."""
        ...

    async def pods_on(self, cluster: str, node: str, identity: SpiffeId) -> Sequence[Pod]:
        """The pods on a node that run as an account."""
        ...


@dataclass(frozen=True)
class Impersonation:
    """Administrators and ``registrars`` may name any identity of ours, a node's proxy its pods'.

    ``registrars`` are identities that a client certificate proves: controllers that make
    certificates for others, such as Galley for the Secrets of 1.4. ``nodes`` are the accounts of
    ``CA_TRUSTED_NODE_ACCOUNTS``, pairs of namespace and name.
    """

    trust_domain: str
    registrars: frozenset[str] = frozenset()
    nodes: frozenset[tuple[str, str]] = frozenset()
    pods: Pods | None = None

    async def subject(self, caller: Caller, impersonated: str) -> SpiffeId:
        """The identity that the caller may have instead of its own; else ImpersonationRefused."""
        if caller.administrator or self._registers(caller):
            return target(impersonated, self.trust_domain)
        ref = trusted_pod(caller, self.nodes)
        if self.pods is None:
            raise ImpersonationRefused("pods cannot be asked about")
        try:
            node = node_of(ref, await self.pods.pod(ref.cluster, ref.namespace, ref.name))
            identity = target(impersonated, self.trust_domain)
            neighbours = await self.pods.pods_on(ref.cluster, node, identity)
        except Unreviewable as error:
            raise ImpersonationRefused(str(error)) from error
        check_neighbour(identity, node, neighbours)
        return identity

    def _registers(self, caller: Caller) -> bool:
        proved = caller.authenticator == "client certificate" and caller.identities
        return bool(proved) and caller.identities[0] in self.registrars


def node_accounts(entries: Sequence[str]) -> frozenset[tuple[str, str]]:
    """``CA_TRUSTED_NODE_ACCOUNTS``: entries ``NAMESPACE/ACCOUNT``; ValueError names the entry."""
    found = set()
    for entry in entries:
        namespace, slash, account = entry.partition("/")
        if not (namespace and slash and account) or "/" in account:
            raise ValueError(f"trusted node account {entry!r}: want NAMESPACE/ACCOUNT")
        found.add((namespace, account))
    return frozenset(found)

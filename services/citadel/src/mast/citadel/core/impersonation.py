"""Who may ask for another identity than its own (citadel-and-agent.md A4)."""

from collections.abc import Iterable
from dataclasses import dataclass

from mast.citadel.core.authn import Caller, PodRef
from mast.citadel.core.refusals import ImpersonationRefused
from mast.common.identity.spiffe import SpiffeId

FAILED = "Failed"


@dataclass(frozen=True)
class Pod:
    """What counts of a pod."""

    namespace: str
    name: str
    uid: str
    service_account: str
    node: str
    phase: str = "Running"


def target(impersonated: str, trust_domain: str) -> SpiffeId:
    """The identity that is asked for; ImpersonationRefused unless it is one of ours."""
    try:
        identity = SpiffeId.parse(impersonated)
    except ValueError as error:
        raise ImpersonationRefused(str(error)) from error
    if identity.trust_domain != trust_domain:
        raise ImpersonationRefused(f"identity {impersonated!r}: trust domain is not {trust_domain}")
    return identity


def trusted_pod(caller: Caller, trusted: Iterable[tuple[str, str]]) -> PodRef:
    """The pod of a node's proxy: a trusted account that came by a token bound to a pod.

    ``trusted`` are pairs of namespace and account (``CA_TRUSTED_NODE_ACCOUNTS``). Raises
    ImpersonationRefused.
    """
    pod = caller.pod
    if pod is None:
        raise ImpersonationRefused(f"{caller.authenticator}: not allowed to impersonate")
    account = (pod.namespace, pod.service_account)
    if account not in trusted:
        raise ImpersonationRefused(f"account {'/'.join(account)} is no trusted node account")
    if not pod.name or not pod.uid:
        raise ImpersonationRefused(f"token of {'/'.join(account)} is bound to no pod")
    return pod


def node_of(ref: PodRef, pod: Pod | None) -> str:
    """The node that the caller's pod runs on, if the pod is the one that its token is bound to.

    Raises ImpersonationRefused.
    """
    where = f"pod {ref.namespace}/{ref.name}"
    if pod is None:
        raise ImpersonationRefused(f"{where} does not exist")
    if pod.uid != ref.uid:
        raise ImpersonationRefused(f"{where} is another one than the token was made for")
    if pod.service_account != ref.service_account:
        raise ImpersonationRefused(f"{where} runs as {pod.service_account}, not as its token says")
    if not pod.node:
        raise ImpersonationRefused(f"{where} is on no node")
    return pod.node


def check_neighbour(identity: SpiffeId, node: str, pods: Iterable[Pod]) -> None:
    """Refuse unless one of ``pods`` that has not failed runs as ``identity`` on the node."""
    for pod in pods:
        runs_as = (pod.namespace, pod.service_account)
        if (
            pod.node == node
            and pod.phase != FAILED
            and runs_as == (identity.namespace, identity.service_account)
        ):
            return
    raise ImpersonationRefused(f"no pod of {identity} runs on node {node}")

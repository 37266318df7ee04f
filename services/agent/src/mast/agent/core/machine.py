"""An agent on a machine of its own: its variables, its files, whose it is (B9)."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mast.agent.core import paths

SIDECAR_ENV: Final = "var/lib/istio/envoy/sidecar.env"
CLUSTER_ENV: Final = "var/lib/istio/envoy/cluster.env"
HOSTS: Final = "etc/hosts"
INSTALLED: Final[Mapping[str, tuple[str, int]]] = {
    "cluster.env": (CLUSTER_ENV, 0o644),
    "sidecar.env": (SIDECAR_ENV, 0o644),
    "mesh.yaml": ("etc/istio/config/mesh", 0o644),
    "root-cert.pem": ("etc/certs/root-cert.pem", 0o644),
    "istio-token": ("var/run/secrets/tokens/istio-token", 0o600),
}
"""Where the files of ``workload entry configure`` go, and their modes."""

WRITTEN: Final = (
    "etc/certs",
    "etc/istio/proxy",
    "var/lib/istio/data",
    "var/run/secrets/credential-uds",
    "var/run/secrets/workload-spiffe-uds",
)
"""Directories that the agent writes to."""

_USER: Final = "istio-proxy"
_ROOT: Final = "root"


def variables(texts: Sequence[str]) -> dict[str, str]:
    """What files of ``NAME=VALUE`` lines set, later ones stronger; values are quoted as in shells.

    Raises ValueError that names a line that is something else.
    """
    found = {}
    for text in texts:
        for line in text.splitlines():
            try:
                words = shlex.split(line, comments=True)
            except ValueError as error:
                raise ValueError(f"line {line!r}: {error}") from error
            for word in words[1:] if words[:1] == ["export"] else words:
                name, equals, value = word.partition("=")
                if not (name.isidentifier() and equals):
                    raise ValueError(f"line {line!r}: want NAME=VALUE")
                found[name] = value
    return found


@dataclass(frozen=True)
class Machine:
    """What the variables say of this machine's agent."""

    env: Mapping[str, str]

    @property
    def user(self) -> str:
        """Who runs proxy and agent: TPROXY needs root (C5)."""
        if self.env.get("ISTIO_INBOUND_INTERCEPTION_MODE") == "TPROXY":
            return _ROOT
        return self.env.get("EXEC_USER") or _USER

    @property
    def captured(self) -> bool:
        """Capture is ours to program."""
        return self.env.get("ISTIO_CUSTOM_IP_TABLES") != "true"

    @property
    def arguments(self) -> list[str]:
        """Command line of the agent."""
        service = self.env.get("ISTIO_SERVICE", "")
        named = ["--serviceCluster", service] if service else []
        return ["proxy", "sidecar", *named, *shlex.split(self.env.get("ISTIO_AGENT_FLAGS", ""))]

    def environment(self) -> dict[str, str]:
        """Variables of the agent: its own certificate is what it shows later (B2.1)."""
        found = {
            "PROV_CERT": paths.MOUNTED_CERTIFICATES,
            "OUTPUT_CERTS": paths.MOUNTED_CERTIFICATES,
        }
        found |= self.env
        if address := self.env.get("ISTIO_SVC_IP"):
            found.setdefault("INSTANCE_IP", address)
        if namespace := self.env.get("ISTIO_NAMESPACE"):
            found.setdefault("POD_NAMESPACE", namespace)
        return found

    def capture_environment(self, uid: int, gid: int) -> dict[str, str]:
        """Variables of ``istio-iptables``: whose connections are not captured."""
        return {"PROXY_UID": str(uid), "PROXY_GID": str(gid), **self.env}


def with_hosts(present: str, added: str) -> str:
    """The text of /etc/hosts with lines added that it does not have."""
    known = {tuple(line.split()) for line in present.splitlines()}
    new = [line for line in added.splitlines() if line.strip() and tuple(line.split()) not in known]
    begun = present if not present or present.endswith("\n") else f"{present}\n"
    return "".join([begun, *(f"{line}\n" for line in new)])

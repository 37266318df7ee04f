"""What the control plane of a laptop mesh consists of: processes, flags and addresses."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mast.cli.local import addresses, etcd
from mast.cli.local.home import Home, Mesh
from mast.common.identity.spiffe import SpiffeId

SERVICE_ACCOUNTS: Mapping[str, str] = {
    name: f"istio-{name}-service-account" for name in ("citadel", "galley", "pilot", "mixer")
}
SYSTEM_NAMESPACE = "istio-system"

# Where a backup waits for the store that is to take it.
STAGED = ("data", "restore")

# What is served, its usual port and whether workloads in namespaces must reach it.
_PORTS: Mapping[str, tuple[int, bool]] = {
    "etcd": (2379, False),
    "etcd-peer": (2380, False),
    "etcd-metrics": (2381, False),
    "citadel": (8060, True),
    "citadel-monitoring": (15314, False),
    "galley": (9901, False),
    "galley-monitoring": (15414, False),
    "pilot": (15010, False),
    "pilot-secure": (15012, True),
    "pilot-http": (8080, False),
    "pilot-monitoring": (15014, False),
}
# The same of each Mixer, whose name goes before.
_MIXER_PORTS: Mapping[str, tuple[int, bool]] = {
    "": (9091, False),
    "-secure": (15004, True),
    "-prometheus": (42422, False),
    "-monitoring": (15214, False),
}


@dataclass(frozen=True, slots=True)
class Service:
    """One control plane process; it is ready when GET ``ready`` answers 200.

    Where there is a service ``account``, Citadel gives it a secret for its first certificate.
    """

    name: str
    command: Sequence[str]
    ready: str
    account: str = ""


def choose_addresses(home: Home, shared_host: str, mixers: Iterable[str]) -> dict[str, str]:
    """Addresses of everything served: the usual port, or another one if somebody has it.

    What workloads dial is on ``shared_host``, the rest on a loopback address of this mesh alone.
    """
    own = addresses.control(home.tag)
    chosen: dict[str, str] = {}
    given: set[str] = set()
    of_mixers = {name + what: at for name in mixers for what, at in _MIXER_PORTS.items()}
    for name, (preferred, shared) in {**_PORTS, **of_mixers}.items():
        host = shared_host if shared else own
        address = f"{host}:{addresses.port(host, preferred)}"
        while address in given:
            address = f"{host}:{addresses.port(host, 0)}"
        given.add(address)
        chosen[name] = address
    for name in ("citadel", "galley"):
        chosen[f"{name}-admin"] = f"unix:{home.path('sockets', name)}"
    return chosen


def etcd_service(home: Home, mesh: Mesh) -> Service:
    """The store."""
    at = mesh.addresses
    line = etcd.command(
        home.path("data", "etcd"),
        etcd_pki(home),
        at["etcd"],
        at["etcd-peer"],
        at["etcd-metrics"],
    )
    return Service("etcd", line, f"http://{at['etcd-metrics']}/health")


def services(home: Home, mesh: Mesh) -> tuple[Service, ...]:
    """The services. They may start in any order; each waits for what it needs."""
    at = mesh.addresses
    # Made by whichever of its two readers comes first.
    secrets_key = str(home.path("data", "secrets.key"))
    return (
        _service(
            home,
            mesh,
            "citadel",
            listen=at["citadel"],
            admin_socket=_socket(at["citadel-admin"]),
            relays=str(SpiffeId(mesh.trust_domain, SYSTEM_NAMESPACE, SERVICE_ACCOUNTS["pilot"])),
            ca_key_file=str(home.path("data", "ca.key")),
        ),
        _service(
            home,
            mesh,
            "galley",
            listen=at["galley"],
            admin_socket=_socket(at["galley-admin"]),
            max_txn_ops=str(etcd.MAX_TXN_OPS),
            secrets_key_file=secrets_key,
        ),
        _service(
            home,
            mesh,
            "pilot",
            listen=at["pilot"],
            secure_listen=at["pilot-secure"],
            http_listen=at["pilot-http"],
            secrets_key_file=secrets_key,
        ),
        *(
            _service(
                home,
                mesh,
                "mixer",
                name,
                role=role,
                listen=at[name],
                secure_listen=at[f"{name}-secure"],
                prometheus_listen=at[f"{name}-prometheus"],
            )
            for name, role in mesh.mixers.items()
        ),
    )


def _service(home: Home, mesh: Mesh, package: str, name: str = "", **own: str) -> Service:
    """A process of a package, which is also its name unless there are several."""
    name = name or package
    pki = etcd_pki(home)
    chain, key = etcd.certificate(pki, package)
    flags = {
        "etcd_endpoints": mesh.addresses["etcd"],
        "etcd_ca": str(pki / "ca.pem"),
        "etcd_cert": str(chain),
        "etcd_key": str(key),
        "trust_domain": mesh.trust_domain,
        "monitoring_listen": mesh.addresses[f"{name}-monitoring"],
        **own,
    }
    account = SERVICE_ACCOUNTS[package] if package != "citadel" else ""
    if account:
        flags |= {
            "ca_address": mesh.addresses["citadel"],
            "ca_root_file": str(root_file(home)),
            "ca_token_file": str(token_file(home, name)),
        }
    line = [sys.executable, "-m", f"mast.{package}"]
    for flag, value in flags.items():
        line += ["--" + flag.replace("_", "-"), value]
    ready = f"http://{mesh.addresses[f'{name}-monitoring']}/ready"
    return Service(name, line, ready, account)


def _socket(address: str) -> str:
    return address.removeprefix("unix:")


def etcd_pki(home: Home) -> Path:
    """Where the certificates of the store and of its users are."""
    return home.path("data", "etcd-pki")


def root_file(home: Home) -> Path:
    """Where the mesh's root certificates stand once Citadel has answered."""
    return home.path("root-cert.pem")


def token_file(home: Home, service: str) -> Path:
    """Where a control plane service finds the secret for its first certificate."""
    return home.path("tokens", service)

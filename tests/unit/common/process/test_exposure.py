"""Plaintext stays on the machine (docs/security.md, "Ports")."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mast.citadel.config import Config as Citadel
from mast.common.process.exposure import stays_here
from mast.galley.config import Config as Galley
from mast.mixer.config import Config as Mixer
from mast.pilot.config import Config as Pilot

SERVICES: dict[str, Any] = {"galley": Galley, "pilot": Pilot, "mixer": Mixer, "citadel": Citadel}
DOCUMENT = Path(__file__).parents[4] / "docs" / "security.md"
ROWS = [
    [each.strip(" `") for each in line.strip("|").split("|")]
    for line in DOCUMENT.read_text().partition("## Ports")[2].partition("\n## ")[0].splitlines()
    if line.startswith(tuple(f"| {name} |" for name in SERVICES))
]
"""Service, flag, default, encryption and callers of each port."""
PLAINTEXT = [(service, flag) for service, flag, _, encrypted, _ in ROWS if encrypted == "no"]


def test_every_port_is_documented() -> None:
    found = {
        (name, each.name, each.default or "closed")
        for name, config in SERVICES.items()
        for each in fields(config)
        if each.name.endswith("listen")
    }
    assert {(service, flag, default) for service, flag, default, *_ in ROWS} == found


@pytest.mark.parametrize(("service", "flag"), [each[:2] for each in ROWS])
def test_by_default_nobody_else_reaches_it(service: str, flag: str) -> None:
    address = getattr(SERVICES[service](), flag)
    assert not address or stays_here(address)


@pytest.mark.parametrize(("service", "flag"), PLAINTEXT)
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "10.0.0.1", "istiod", ""])  # noqa: S104
def test_plaintext_elsewhere_is_refused(service: str, flag: str, host: str) -> None:
    config, address = SERVICES[service], f"{host}:15999"
    with pytest.raises(ValueError, match=f"--{flag.replace('_', '-')} .*loopback"):
        config(**{flag: address})
    assert getattr(config(**{flag: address, "plaintext_beyond_loopback": True}), flag) == address


@pytest.mark.parametrize("address", ["127.0.0.2:1", "[::1]:1", "localhost:1", "unix:/a"])
def test_plaintext_here_is_not(address: str) -> None:
    assert Pilot(listen=address).listen == address


@pytest.mark.parametrize("service", SERVICES)
def test_an_etcd_elsewhere_needs_tls(service: str, tmp_path: Path) -> None:
    config, elsewhere = SERVICES[service], {"etcd_endpoints": ("127.0.0.1:1", "etcd:2379")}
    with pytest.raises(ValueError, match=r"--etcd-endpoints etcd:2379.*--etcd-ca"):
        config(**elsewhere)
    assert config(**elsewhere, etcd_ca=tmp_path).etcd_ca
    assert config(**elsewhere, plaintext_beyond_loopback=True)

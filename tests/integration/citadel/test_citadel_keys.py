"""Where the CA's keys are kept: every key manager, alone and under a Citadel (A12).

Section numbers are those of citadel-and-agent.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from mast.citadel.core.authority import issued_by, self_signed
from mast.citadel.core.remote_keys import KeyUnavailable, is_remote
from mast.citadel.store.key_managers.files import FileKeys
from mast.citadel.store.key_managers.keyring import KeyManager, Keyring, MemoryKeys
from mast.citadel.store.key_managers.plugin import PluginKeys
from mast.common.etcd import Store
from mastapi.citadel.v1 import citadel_pb2
from tests.fakes.kms import key_plugin
from tests.integration.citadel.process import citadel
from tests.support import soft_token
from tests.support.etcd_server import EtcdServer
from tests.support.pki import wall_clock

NO_TOKEN = pytest.mark.skipif(
    soft_token.module() is None, reason="needs softhsm2 and python-pkcs11"
)
KINDS = ["memory", "file", "kms", pytest.param("pkcs11", marks=NO_TOKEN)]


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> soft_token.SoftToken:
    """One for the module: a process loads the library, and its configuration, once."""
    made = soft_token.soft_token(tmp_path_factory.mktemp("token"))
    os.environ.update(made.environment)
    return made


@pytest.fixture
def flags(
    request: pytest.FixtureRequest, kind: str, directory: Path
) -> Iterator[Mapping[str, object]]:
    """Flags that make Citadel keep its keys there; what they need runs meanwhile."""
    with ExitStack() as stack:
        found: dict[str, object] = {"--key-manager": kind}
        if kind == "file":
            found["--key-directory"] = directory / "keys"
        elif kind == "kms":
            stack.enter_context(key_plugin(directory / "kms.sock"))
            found["--kms-socket"] = directory / "kms.sock"
        elif kind == "pkcs11":
            made = request.getfixturevalue("token")
            pin = directory / "pin"
            pin.write_text(f"{soft_token.PIN}\n")
            found |= {"--pkcs11-module": made.module, "--pkcs11-token": soft_token.LABEL}
            found["--pkcs11-pin-file"] = pin
        yield found


def manager(kind: str, flags: Mapping[str, object]) -> KeyManager:
    if kind == "memory":
        return MemoryKeys()
    if kind == "file":
        return FileKeys(Path(str(flags["--key-directory"])))
    if kind == "kms":
        return PluginKeys(Path(str(flags["--kms-socket"])), "a.example")
    from mast.citadel.store.key_managers.token import TokenKeys

    return TokenKeys(Path(str(flags["--pkcs11-module"])), soft_token.LABEL, soft_token.PIN)


async def gone(keys: KeyManager, name: str) -> bool:
    """Whether a key is lost for good; False if it may be elsewhere."""
    with suppress(KeyUnavailable):
        return await keys.load(name) is None
    return False


@pytest.mark.parametrize("kind", KINDS)
async def test_keys_are_made_found_used_and_destroyed(
    kind: str, flags: Mapping[str, object]
) -> None:
    keys = manager(kind, flags)
    names = set()
    for algorithm in ("P256", "P384", "RSA2048"):
        made = await keys.create(algorithm)
        names.add(made.id)
        again = await keys.load(made.id)
        assert again is not None
        assert again.public_key() == made.key.public_key()
        for key in (made.key, again):
            slot = self_signed("a", key, now=wall_clock(), ttl=timedelta(days=1), serial=1)
            assert issued_by(slot.certificate, slot.certificate)
        if is_remote(again):
            with pytest.raises(UnsupportedAlgorithm, match="the key stays where it is"):
                again.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
    assert len(names) == 3
    for name in names:
        await keys.destroy(name)
        await keys.destroy(name)
        assert await gone(keys, name) == (kind == "memory")


async def test_key_files_are_for_their_owner_only(directory: Path) -> None:
    keys = FileKeys(directory / "keys")
    made = await keys.create("P256")
    (path,) = (directory / "keys").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(0o644)
    with pytest.raises(KeyUnavailable, match="mode is 0644, want 0600"):
        await keys.load(made.id)
    path.chmod(0o600)
    path.write_text("nothing")
    with pytest.raises(KeyUnavailable, match="want one PEM block"):
        await keys.load(made.id)


async def test_a_plug_in_that_is_away_is_named(directory: Path) -> None:
    keys = PluginKeys(directory / "kms.sock", "a.example")
    with pytest.raises(KeyUnavailable, match=r"plug-in at .*kms.sock: CreateKey: UNAVAILABLE"):
        await keys.create("P256")
    with key_plugin(directory / "kms.sock") as plugin:
        made = await keys.create("P256")
        plugin.down = True
        with pytest.raises(KeyUnavailable, match="Sign: UNAVAILABLE: the vault is sealed"):
            self_signed("a", made.key, now=wall_clock(), ttl=timedelta(days=1), serial=1)


async def test_a_key_that_nobody_keeps_is_told() -> None:
    with pytest.raises(KeyUnavailable, match="kept by 'pkcs11', and configured are etcd"):
        await Keyring().load("pkcs11", "x")


@pytest.mark.parametrize("kind", [KINDS[1], KINDS[3]])
async def test_a_ca_whose_keys_are_elsewhere(
    kind: str, flags: Mapping[str, object], etcd: EtcdServer, store: Store, directory: Path
) -> None:
    """Begun with a key in the store, continued with keys elsewhere, over a restart."""
    line = [str(each) for pair in flags.items() for each in pair]
    kept = [*line, "--rotation-settling", "0s"]
    async with citadel(etcd.endpoint, directory) as ca:
        pair, _ = await ca.new_pair(await ca.join_token())
    async with citadel(etcd.endpoint, directory, kept) as ca, ca.administrator() as stub:
        await stub.PrepareAuthority(citadel_pb2.PrepareAuthorityRequest(), timeout=20)
        force = citadel_pb2.ActivateAuthorityRequest(force=True)
        seen = await stub.ActivateAuthority(force, timeout=20)
        assert [slot.key_manager for slot in seen.slots] == ["etcd", kind]
        pair, _ = await ca.new_pair(pair=pair)
    async with citadel(etcd.endpoint, directory, kept) as ca, ca.administrator() as stub:
        _, certificate = await ca.new_pair(pair=pair)
        status = await stub.GetAuthorities(citadel_pb2.GetAuthoritiesRequest(), timeout=20)
        active = next(s for s in status.slots if s.state == citadel_pb2.Authority.Slot.ACTIVE)
        root = certificate.leaf.issuer.rfc4514_string()
        assert root == active.subject
    everything = b"".join(entry.value for entry in (await store.list("")).entries)
    assert b"PRIVATE KEY" not in everything
    async with citadel(etcd.endpoint, directory) as ca:
        await ca.service.logged("authority.unavailable")


async def test_keys_in_memory_end_with_the_process(etcd: EtcdServer, directory: Path) -> None:
    """The next process makes another CA at once, and the old one's certificates still count."""
    flags = ("--key-manager", "memory", "--rotation-settling", "0s")
    async with citadel(etcd.endpoint, directory, flags) as ca:
        pair, _ = await ca.new_pair(await ca.join_token())
    async with citadel(etcd.endpoint, directory, flags) as ca:
        await ca.service.logged("authority.changed", became="activated")
        _, certificate = await ca.new_pair(pair=pair)
        assert certificate.roots_pem.count("BEGIN CERTIFICATE") == 2

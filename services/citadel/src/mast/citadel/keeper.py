"""Puts the CA of one process together: where it comes from, how it rotates (wiring, with main)."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module
from random import random

from cryptography.x509 import Certificate

from mast.citadel.api.signing import SERIAL_BYTES
from mast.citadel.callers import outer_roots
from mast.citadel.config import Config
from mast.citadel.core import authority as ca
from mast.citadel.core.authority import Authority, Slot
from mast.citadel.core.leaf import serial_number
from mast.citadel.core.records import STORED_HERE
from mast.citadel.core.rotation import Overview, Policy
from mast.citadel.store.authorities import StoredAuthority
from mast.citadel.store.bundles import Bundles
from mast.citadel.store.key_managers.files import FileKeys
from mast.citadel.store.key_managers.keyring import KeyManager, Keyring, MemoryKeys, StoredKeys
from mast.citadel.store.key_managers.plugin import PluginKeys
from mast.citadel.store.plugged_in import PluggedInAuthority
from mast.citadel.store.rotation import Rotation, overview
from mast.common.etcd import Health, Store
from mast.common.sealing import sealing_key


@dataclass(frozen=True)
class Keeper:
    """``changes`` are the authority and what replaces it; ``rotation`` is None if it is plugged in.

    Who is cut off from the store for longer than ``grace`` does not know what became of the CAs.
    """

    changes: Callable[[], AsyncGenerator[Authority, None]]
    rotation: Rotation | None
    grace: timedelta
    seen: Callable[[Authority], Awaitable[Overview]]

    def may_sign(self, health: Health, now: datetime) -> bool:
        """Whether what this replica knows of the CAs still holds.

        A CA that others retired meanwhile is trusted ``grace`` longer than its last leaf could
        live, so nothing that is signed before this says no outlives its root (A8.5).
        """
        if self.rotation is None or health.connected or health.since is None:
            return True
        return now < health.since + self.grace


def keeper(
    config: Config, store: Store, bundles: Bundles, domain: str, now: Callable[[], datetime]
) -> Keeper:
    """The CA in ``root_ca_dir`` if there is one, else the one that all replicas share in etcd.

    Raises InvalidPluggedInCa, ValueError or OSError for settings that cannot work.
    """
    more_roots = _more_roots(config)
    plugged_in = PluggedInAuthority(
        directory=config.root_ca_dir,
        trust_domain=domain,
        now=now,
        multiroot=config.multiroot_mesh,
        more_roots=more_roots,
    )
    seen = partial(overview, store, bundles)
    if (found := plugged_in.load()) is not None:
        return Keeper(partial(plugged_in.changes, found), None, config.old_ca_grace, seen)
    keyring = keys(config, domain)
    new_slot = partial(_new_slot, config, keyring, domain, now)
    stored = StoredAuthority(
        store=store,
        key=sealing_key(config.ca_key_file, secrets.token_bytes),
        trust_domain=domain,
        new_slot=new_slot,
        entropy=secrets.token_bytes,
        random=random,
        keyring=keyring,
        more_roots=more_roots,
    )
    rotation = Rotation(
        store=store,
        authorities=stored,
        bundles=bundles,
        new_slot=new_slot,
        policy=policy(config),
        now=now,
        random=random,
        interval=config.self_signed_root_cert_check_interval,
        jitter=config.enable_jitter_for_root_cert_rotator,
    )
    return Keeper(stored.changes, rotation, config.old_ca_grace, seen)


def _more_roots(config: Config) -> tuple[Certificate, ...]:
    """What is trusted beside our own CA: what the operator names, and the CA outside that signs."""
    file = config.root_cert_file
    named = ca.certificates(file.read_bytes()) if file else ()
    return (*named, *(outer_roots(config) if config.external_ca else ()))


def keys(config: Config, domain: str) -> Keyring:
    """Every key manager that is configured; ValueError if the one for new keys is not."""
    managers: dict[str, KeyManager] = {STORED_HERE: StoredKeys(), "memory": MemoryKeys()}
    if config.key_directory is not None:
        managers["file"] = FileKeys(config.key_directory)
    if config.kms_socket is not None:
        managers["kms"] = PluginKeys(config.kms_socket, domain)
    if config.pkcs11_module is not None:
        # An optional extra, which needs a library of C.
        token_keys = import_module("mast.citadel.store.key_managers.token").TokenKeys
        pin = config.pkcs11_pin_file.read_text().strip() if config.pkcs11_pin_file else ""
        managers["pkcs11"] = token_keys(config.pkcs11_module, config.pkcs11_token, pin)
    if config.key_manager not in managers:
        raise ValueError(
            f"key_manager {config.key_manager!r}: configured are {', '.join(sorted(managers))} "
            "(file needs key_directory, kms needs kms_socket, pkcs11 needs pkcs11_module)"
        )
    return Keyring(managers, config.key_manager)


def policy(config: Config) -> Policy:
    """How careful rotations are."""
    return Policy(
        enough=config.rotation_confirmed,
        grace=config.old_ca_grace,
        settling=config.rotation_settling,
        publication=config.spiffe_refresh_hint
        if config.spiffe_bundle_listen
        else Policy().publication,
    )


async def _new_slot(
    config: Config, keyring: Keyring, domain: str, now: Callable[[], datetime]
) -> Slot:
    new = await keyring.create(config.ca_key_algorithm)
    slot = await asyncio.to_thread(
        ca.self_signed,
        domain,
        new.key,
        now=now(),
        ttl=config.ca_cert_ttl,
        serial=serial_number(secrets.token_bytes(SERIAL_BYTES)),
        longest_leaf=config.max_workload_cert_ttl,
    )
    return replace(slot, key_id=new.id, key_manager=keyring.current)

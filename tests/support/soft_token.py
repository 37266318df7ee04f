"""A PKCS #11 token of SoftHSM in a directory of its own, where SoftHSM is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/softhsm/libsofthsm2.so"),
    Path("/usr/local/lib/softhsm/libsofthsm2.so"),
)
LABEL, PIN = "mast", "1234"
SECRETS = ("--pin", PIN, "--so-pin", PIN)


@dataclass(frozen=True)
class SoftToken:
    """A token, and the variable by which its library finds it."""

    module: Path
    environment: Mapping[str, str]


def module() -> Path | None:
    """SoftHSM's library; None if it, or python-pkcs11, is not installed."""
    if shutil.which("softhsm2-util") is None or find_spec("pkcs11") is None:
        return None
    return next((path for path in MODULES if path.exists()), None)


def soft_token(directory: Path) -> SoftToken:
    """A new token below a directory."""
    found = module()
    assert found is not None
    (directory / "tokens").mkdir(parents=True)
    config = directory / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {directory / 'tokens'}\nlog.level = ERROR\n")
    environment = {"SOFTHSM2_CONF": str(config)}
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", LABEL, *SECRETS],
        env={**os.environ, **environment},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return SoftToken(found, environment)

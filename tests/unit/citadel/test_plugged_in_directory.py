"""Following a plugged-in CA's directory (citadel-and-agent.md A1, A8.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest

from mast.citadel.core.authority import Authority
from mast.citadel.core.plugged_in import InvalidPluggedInCa
from mast.citadel.store.plugged_in import PluggedInAuthority
from tests.support.log_events import log_events
from tests.support.pki import Ca, key_pem, wall_clock
from tests.unit.citadel.examples import DOMAIN
from tests.unit.citadel.test_plugged_in import istio

ROOT, OTHER = Ca.root("root"), Ca.root("other")


def source(directory: Path) -> PluggedInAuthority:
    return PluggedInAuthority(
        directory=directory,
        trust_domain=DOMAIN,
        now=wall_clock,
        interval=timedelta(milliseconds=10),
        debounce=timedelta(milliseconds=10),
    )


def mount(directory: Path, files: dict[str, bytes], version: int) -> None:
    """Put files in place at once, as kubelet does: a symbolic link to a directory is swapped."""
    real = directory / f"v{version}"
    real.mkdir()
    for name, content in files.items():
        (real / name).write_bytes(content)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(Path("..data", name))
    (directory / "..tmp").symlink_to(real.name)
    (directory / "..tmp").rename(directory / "..data")


async def following(directory: Path) -> AsyncGenerator[Authority, None]:
    plugged = source(directory)
    first = plugged.load()
    assert first is not None
    return plugged.changes(first)


def signing(authority: Authority) -> str:
    return authority.active.certificate.subject.rfc4514_string()


@pytest.mark.parametrize("name", ["missing", "a-file", "empty"])
def test_no_directory_no_authority(tmp_path: Path, name: str) -> None:
    (tmp_path / "a-file").write_text("")
    (tmp_path / "empty").mkdir()
    assert source(tmp_path / name).load() is None


def test_unusable_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ca-cert.pem").write_bytes(ROOT.pem)
    with pytest.raises(InvalidPluggedInCa):
        source(tmp_path).load()


async def test_a_new_intermediate_is_taken_up(tmp_path: Path) -> None:
    mount(tmp_path, istio(ROOT.intermediate("one"), ROOT), 1)
    async with asyncio.timeout(10), aclosing(await following(tmp_path)) as changes:
        assert signing(await anext(changes)) == "O=one"
        mount(tmp_path, istio(ROOT.intermediate("two"), ROOT), 2)
        assert signing(await anext(changes)) == "O=two"


@pytest.mark.parametrize(
    ("files", "event", "problem"),
    [
        pytest.param(
            lambda: istio(OTHER.intermediate("foreign"), OTHER),
            "authority.rejected",
            "takes one root only",
            id="other-root",
        ),
        pytest.param(
            lambda: {**istio(ROOT.intermediate("bad"), ROOT), "ca-key.pem": key_pem(OTHER.key)},
            "authority.rejected",
            "ca-key.pem is not the key",
            id="wrong-key",
        ),
        pytest.param(dict, "authority.missing", "", id="nothing"),
    ],
)
async def test_what_cannot_be_used_is_logged_and_the_next_good_one_counts(
    tmp_path: Path, files: Callable[[], dict[str, bytes]], event: str, problem: str
) -> None:
    mount(tmp_path, istio(ROOT.intermediate("one"), ROOT), 1)
    seen: asyncio.Queue[str] = asyncio.Queue()

    async def follow() -> None:
        async with aclosing(await following(tmp_path)) as changes:
            async for authority in changes:
                seen.put_nowait(signing(authority))

    with log_events() as logged:
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            following_it = tasks.create_task(follow())
            assert await seen.get() == "O=one"
            mount(tmp_path, files(), 2)
            line = await logged.get()
            assert (line["event"], line["log_level"]) == (event, "error")
            assert line["directory"] == str(tmp_path)
            assert problem in line.get("error", "")
            mount(tmp_path, istio(ROOT.intermediate("three"), ROOT), 3)
            assert await seen.get() == "O=three"
            following_it.cancel()
        assert logged.empty()

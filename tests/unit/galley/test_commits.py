"""Which commit a directory is at, by what Git keeps of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mast.galley.store.commits import commit_of

ONE, TWO = "1" * 40, "2" * 64


def written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({".git/HEAD": f"{ONE}\n"}, ONE, id="detached"),
        pytest.param(
            {".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": f"{TWO}\n"},
            TWO,
            id="branch-of-sha256",
        ),
        pytest.param(
            {
                ".git/HEAD": "ref: refs/heads/main\n",
                ".git/packed-refs": f"# pack-refs\n{TWO} refs/heads/other\n{ONE} refs/heads/main\n",
            },
            ONE,
            id="packed",
        ),
        pytest.param({".git/HEAD": "ref: refs/heads/unborn\n"}, "", id="no-commit-yet"),
        pytest.param({".git/HEAD": "ref: HEAD\n"}, "", id="nonsense"),
        pytest.param({".git/config": ""}, "", id="no-head"),
        pytest.param({"notes.txt": ""}, "", id="no-git"),
    ],
)
def test_repository(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    for name, text in files.items():
        written(tmp_path / name, text)
    (tmp_path / "mesh").mkdir()
    assert commit_of(tmp_path / "mesh") == expected


@pytest.mark.parametrize("head", [f"{ONE}\n", "ref: refs/heads/main\n"], ids=["detached", "branch"])
def test_a_work_tree_behind_a_link(tmp_path: Path, head: str) -> None:
    repository = tmp_path / ".git"
    written(repository / "refs/heads/main", ONE)
    written(repository / f"worktrees/{ONE}/HEAD", head)
    written(repository / f"worktrees/{ONE}/commondir", "../..\n")
    written(tmp_path / f".worktrees/{ONE}/.git", f"gitdir: ../../.git/worktrees/{ONE}\n")
    (tmp_path / "current").symlink_to(f".worktrees/{ONE}")
    assert commit_of(tmp_path / "current") == ONE


@pytest.mark.parametrize("name", [ONE, f"rev-{TWO}"])
@pytest.mark.parametrize("file", [".git", "README"])
def test_a_work_tree_alone_is_known_by_its_name(tmp_path: Path, name: str, file: str) -> None:
    written(tmp_path / name / file, "gitdir: /nowhere/at/all")
    assert commit_of(tmp_path / name) == name.removeprefix("rev-")


def test_what_is_gone_has_none(tmp_path: Path) -> None:
    assert commit_of(tmp_path / "nothing") == ""

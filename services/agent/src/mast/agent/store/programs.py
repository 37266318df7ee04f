"""Runs the programs that change the kernel's network settings, to their end."""

import subprocess
from collections.abc import Sequence

_SECONDS = 60


class Failed(Exception):
    """A program failed or is missing; says which and what it complained about."""


def run(command: Sequence[str], text: str = "", *, tolerate: Sequence[str] = ()) -> str:
    """The program's output. Raises Failed, unless the complaint has one of the ``tolerate``."""
    try:
        result = subprocess.run(  # noqa: S603 - fixed programs, checked arguments
            list(command), input=text, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{command[0]}: {error}") from error
    if result.returncode and not any(each in result.stderr for each in tolerate):
        raise Failed(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout


def succeeds(command: Sequence[str]) -> bool:
    """Whether a program ends with status 0."""
    try:
        run(command)
    except Failed:
        return False
    return True

"""The agent's entry point: one program, several commands (citadel-and-agent.md B1)."""

import sys
from collections.abc import Callable, Sequence

from mast.agent import commands


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; ends the process with its status."""
    words = list(sys.argv[1:] if argv is None else argv)
    heavy: dict[str, Callable[[Sequence[str]], int]] = {"proxy": proxy, "cni": cni}
    table = {**heavy, **commands.COMMANDS}
    if not words or words[0] not in table:
        sys.exit(f"usage: mast-agent {{{','.join(table)}}} ...")
    sys.exit(table[words[0]](words[1:]))


def proxy(argv: Sequence[str]) -> int:
    """Run the agent of one Envoy."""
    # Envoy's messages take half a second to import, which hooks and probes need not wait for.
    from mast.agent.proxy import proxy as run

    return run(argv)


def cni(argv: Sequence[str]) -> int:
    """Run the agent of a node, behind the CNI plugin."""
    from mast.agent.cni_command import cni as run

    return run(argv)

"""Becomes Envoy: asks the kernel to kill it when the agent dies, then executes the program.

Run as a program of its own, ``launcher.py AGENT_PID PROGRAM ARGUMENT…``: between fork and exec
of a process with threads nothing but system calls may run, and a death signal survives exec.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def become(agent: int, program: list[str]) -> None:
    """Execute the program; it is killed when ``agent``, its parent, ends for whatever reason."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != agent:  # the agent died before the kernel knew
        sys.exit(1)
    os.execv(program[0], program)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])

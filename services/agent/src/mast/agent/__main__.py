"""``python -m mast.agent``: the agent as a process."""

from __future__ import annotations

from mast.common.process.loading import loading

with loading():
    from mast.agent.main import main

if __name__ == "__main__":
    main()

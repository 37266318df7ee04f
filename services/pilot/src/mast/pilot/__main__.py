"""``python -m mast.pilot``: Pilot as a process."""

from __future__ import annotations

from mast.common.process.loading import loading

with loading():
    from mast.pilot.main import main

if __name__ == "__main__":
    main()

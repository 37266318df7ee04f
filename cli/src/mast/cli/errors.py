"""What mastctl tells a user when something goes wrong: one line, and what to do next."""

from __future__ import annotations


class CommandError(Exception):
    """A failure in one line; ``hint`` says what to do next, ``status`` is the exit code."""

    def __init__(self, message: str, *, hint: str = "", status: int = 1) -> None:
        super().__init__(message)
        self.hint = hint
        self.status = status

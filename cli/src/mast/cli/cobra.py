"""Commands whose users are used to istioctl: its way to write switches, and its exit statuses."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

from mast.cli.errors import CommandError

USAGE = 64
"""Exit status of wrong usage, as istioctl has it (sysexits.h, EX_USAGE)."""

_BOOLEANS = {"true": True, "false": False}
# Typer publishes only this subclass of Click's usage error.
_UsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]


class SwitchCommand(TyperCommand):
    """A command that takes ``--switch=true`` and ``--switch=false`` beside ``--switch``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What Click leaves over."""
        return super().parse_args(ctx, [self._plain(each) for each in args])

    def _plain(self, argument: str) -> str:
        name, equals, text = argument.partition("=")
        if not equals or text.lower() not in _BOOLEANS:
            return argument
        for parameter in self.params:
            if getattr(parameter, "is_flag", False) and name in parameter.opts:
                chosen = parameter.opts if _BOOLEANS[text.lower()] else parameter.secondary_opts
                return next((each for each in chosen if each.startswith("--")), argument)
        return argument


class CobraCommand(SwitchCommand):
    """The same with istioctl's exit status of wrong usage."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What Click leaves over; CommandError with status 64 if it is wrong usage."""
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            hint = f"usage: {ctx.command_path} --help"
            raise CommandError(error.format_message(), hint=hint, status=USAGE) from error

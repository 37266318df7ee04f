"""mastctl: every command, and the one place where failures become one line and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import grpc
import grpc.aio
import typer

from mast.cli.command_table import CommandTable
from mast.cli.errors import CommandError
from mast.cli.output import stderr

app = typer.Typer(
    name="mastctl",
    cls=CommandTable,
    help="Operate a Mast service mesh: on this machine, without Kubernetes, or anywhere.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.callback()(lambda: None)  # without one, Typer wants the commands here
# Typer publishes only this subclass of Click's usage error.
_UsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]


def main(argv: Sequence[str] | None = None) -> None:
    """Run mastctl; exits with 0, 1 (it failed), 2 (wrong usage) or 130 (interrupted)."""
    command = typer.main.get_command(app)
    try:
        status = command.main(args=argv, prog_name="mastctl", standalone_mode=False)
    except _UsageError as error:
        _fail(error.format_message(), f"usage: {_path(error)} --help", 2)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except CommandError as error:
        _fail(str(error), error.hint, error.status)
    except grpc.aio.AioRpcError as error:
        _fail(f"{error.code().name}: {error.details()}", "", 1)
    except BaseExceptionGroup as group:
        _fail_group(group)
    else:
        sys.exit(status if isinstance(status, int) else 0)


def _path(error: typer.BadParameter) -> str:
    return error.ctx.command_path if error.ctx else "mastctl"


def _fail_group(group: BaseExceptionGroup[BaseException]) -> None:
    """A task group failed: report the first expected failure, let anything else be a crash."""
    expected, rest = group.split((CommandError, grpc.aio.AioRpcError, KeyboardInterrupt))
    if expected is None or rest is not None:
        raise group
    first: BaseException = expected
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, KeyboardInterrupt):
        sys.exit(130)
    if isinstance(first, CommandError):
        _fail(str(first), first.hint, first.status)
    _fail(str(first), "", 1)


def _fail(message: str, hint: str, status: int) -> None:
    stderr.print(f"Error: {message}", style="red", markup=False, soft_wrap=True)
    if hint:
        stderr.print(hint, markup=False, soft_wrap=True)
    sys.exit(status)


if __name__ == "__main__":
    main()

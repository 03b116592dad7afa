"""What goes wrong, as one line on stderr and an exit status: 1 failed, 2 wrong usage, 130 interrupted."""

from __future__ import annotations

import errno
import gc
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Commands", "Interrupted", "one_line"]


class Interrupted(click.ClickException):
    """Ctrl-C; the message says what is kept."""

    exit_code = 130

    def __init__(self, message: str = "nothing was changed") -> None:
        super().__init__(message)


class Commands(click.Group):
    """Commands that are listed in the order of their definition and fail in one line, never a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the commands as they are defined: the first one is the one to try first."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. What sqlrag or the system complains of becomes click's own kind of error."""
        from sqlrag.errors import Error

        warnings.showwarning = _show_warning  # type: ignore[assignment]  # it takes the rest as it comes
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error
        except Error as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            raise click.ClickException(_system_error(error)) from error

    def main(  # type: ignore[override]  # click's overloads tell its two modes apart; this one ends the program
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **extra: Any,
    ) -> NoReturn:
        """Run as a program, and exit."""
        extra["standalone_mode"] = False
        try:
            code = super().main(args, prog_name, **extra)
            sys.stdout.flush()
        except click.ClickException as error:
            click.echo(_line(error), err=True)
            sys.exit(error.exit_code)
        except click.Abort:
            click.echo(f"Interrupted: {Interrupted().message}", err=True)
            sys.exit(Interrupted.exit_code)
        except BrokenPipeError:
            # Whoever read the output has enough of it; what is still buffered must not complain at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        gc.freeze()  # a last look for garbage, at the end of the process, would take 20 ms
        sys.exit(code if isinstance(code, int) else 0)


def _show_warning(message: Warning | str, *_: Any) -> None:
    """Print a warning as a line on stderr: where in the code it arose is nothing to who types commands."""
    click.echo(f"Note: {one_line(str(message))}", err=True)


def one_line(text: str) -> str:
    """Return a text with its line breaks and runs of blanks made single blanks."""
    return " ".join(text.split())


def _line(error: click.ClickException) -> str:
    if isinstance(error, Interrupted):
        return f"Interrupted: {error.message}"
    line = f"Error: {one_line(error.format_message())}"
    if isinstance(error, click.UsageError) and error.ctx is not None:
        line += f" (see: {error.ctx.command_path} --help)"
    return line


def _system_error(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason

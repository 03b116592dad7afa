"""Errors as one line on stderr and an exit status: 1 for a failure, 2 for wrong usage, 130 for Ctrl-C."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

import click

from sqlrag.cli.interrupt import INTERRUPTED, end_at_once

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

__all__ = ["Commands", "Interrupted", "escaped", "one_line", "printable"]


class Interrupted(click.ClickException):
    """Ctrl-C was pressed; the message says what is kept."""

    exit_code = INTERRUPTED

    def __init__(self, message: str = "nothing was changed") -> None:
        super().__init__(message)


class _Interrupts:
    """Records whether Ctrl-C was pressed while the command ran. Before and after, Ctrl-C ends the program at once."""

    def __init__(self) -> None:
        self.came = False
        self._is_program = signal.getsignal(signal.SIGINT) is end_at_once
        if self._is_program:
            signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        signal.default_int_handler(number, frame)

    def close(self) -> None:
        """Note that there is nothing left to interrupt."""
        if self._is_program:
            signal.signal(signal.SIGINT, lambda *_: os._exit(Interrupted.exit_code))


class Commands(click.Group):
    """Commands that are listed in the order of their definition, and fail with one line instead of a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the commands in the order of their definition; the first is the one to try first."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and turn errors of sqlrag and of the system into click's own."""
        from sqlrag.errors import Error

        warnings.showwarning = _show_warning  # type: ignore[assignment]  # further arguments are ignored
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error
        except Error as error:
            raise click.ClickException(_of_arguments(str(error))) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            raise click.ClickException(_system_error(error)) from error
        except (ImportError, MemoryError) as error:
            last = one_line(str(error).strip().rpartition("\n")[2]) or "out of memory"
            raise click.ClickException(f"{last}: is there enough memory (ulimit -v), and all installed?") from error

    def main(  # type: ignore[override]  # click's overloads are for its two modes; this method always ends the program
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **extra: Any,
    ) -> NoReturn:
        """Run as a program, and exit."""
        extra["standalone_mode"] = False
        interrupts = _Interrupts()
        try:
            code = super().main(args, prog_name, **extra)
            sys.stdout.flush()
        except click.ClickException as error:
            if interrupts.came and isinstance(error.__cause__, ImportError):  # the import was interrupted
                error = Interrupted()
            click.echo(_line(error), err=True)
            sys.exit(error.exit_code)
        except click.Abort:
            click.echo(_line(Interrupted()), err=True)
            sys.exit(Interrupted.exit_code)
        except BrokenPipeError:
            # The reader of the output has left. Output that is still buffered must not raise an error at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except Exception:
            if not interrupts.came:
                raise
            click.echo(_line(Interrupted()), err=True)  # a library has turned it into another error
            sys.exit(Interrupted.exit_code)
        finally:
            interrupts.close()
        gc.freeze()  # the last garbage collection, at exit, would take 20 ms
        sys.exit(code if isinstance(code, int) else 0)


def _show_warning(message: Warning | str, *_: Any) -> None:
    """Print a warning as one line on stderr, without the place in the code that issued it."""
    click.echo(f"Note: {escaped(one_line(str(message)))}", err=True)


def one_line(text: str) -> str:
    """Return a text with each line break and run of blanks replaced by one blank."""
    return " ".join(text.split())


def printable(text: str) -> str:
    """Return a text without characters that could control a terminal; line breaks and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def escaped(text: str) -> str:
    """Return a text of one line, such as a file's name, with characters that could control a terminal as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _line(error: click.ClickException) -> str:
    if isinstance(error, Interrupted):
        return f"Interrupted: {escaped(error.message)}"
    line = f"Error: {escaped(one_line(error.format_message()))}"
    if isinstance(error, click.UsageError) and error.ctx is not None:
        line += f" (see: {error.ctx.command_path} --help)"
    return line


def _of_arguments(message: str) -> str:
    """Return the message for an argument that is not UTF-8, or the given message if there is none."""
    wrong = next((word for word in sys.argv[1:] if any("\ud800" <= sign <= "\udfff" for sign in word)), None)
    if wrong is None or "lone surrogate" not in message:
        return message
    return f"the argument {wrong!r} is not UTF-8: your terminal, or whoever calls, uses another encoding"


def _system_error(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason

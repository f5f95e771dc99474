"""How a program of this package ends: every foreseen failure is one line and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable

from parmesan_cagem import files, streams
from parmesan_cagem.errors import UserError, make_terminal_patient, one_line, out_of_memory
from parmesan_cagem.signals import Signals, Stopped

NOT_FINITE, READER_LEFT = 3, 141


def of(prog: str, job: Callable[[Signals], object]) -> int:
    """Do ``job`` under :class:`Signals`, print what it failed of, and return the exit status.

    Returns
    -------
    int
        0; 2 for a user's mistake, and for results that standard output did not take; 3 for NaN or Inf; 130, 141, 143
        and 129 for SIGINT, SIGPIPE, SIGTERM and SIGHUP. A bug is raised: its traceback is for us.
    """
    with streams.guarded():
        make_terminal_patient()
        try:
            with Signals(prog) as signals:
                try:
                    job(signals)
                except SystemExit:  # --help: nobody has seen it before it is flushed
                    sys.stdout.flush()
                    raise
                sys.stdout.flush()
        except (UserError, Stopped, FloatingPointError, OSError, MemoryError, RuntimeError) as error:
            ending = _ending(error)
            if ending is None:
                raise
            status, line = ending
            lines = [line, _lost_before()]
            for told in dict.fromkeys(filter(None, lines)):
                print(f"{prog}: {one_line(told)}", file=sys.stderr)
            return status
    return 0


def _ending(error: BaseException) -> tuple[int, str] | None:
    """Exit status and what to say; None of what nobody foresaw."""
    if isinstance(error, UserError | Stopped):
        return error.exit_status, str(error)
    if isinstance(error, FloatingPointError):
        return NOT_FINITE, str(error)
    if isinstance(error, OSError) and error.filename == streams.OUTPUT:
        return READER_LEFT if isinstance(error, BrokenPipeError) else UserError.exit_status, _lost(error)
    line = files.where(error) if isinstance(error, OSError) else out_of_memory(error)
    return None if line is None else (UserError.exit_status, line)


def _lost(error: OSError) -> str:
    """What to say of results that standard output did not take; nothing if `| head` has seen enough."""
    return "" if isinstance(error, BrokenPipeError) else f"{streams.OUTPUT}: {files.cause(error)}; send it elsewhere"


def _lost_before() -> str:
    """The same of results that were printed before a failure."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return _lost(error)
    return ""

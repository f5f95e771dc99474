"""The one exception that means: the user can fix this; and how any message becomes one line on any terminal."""

import re
import sys

MOST = 2000  # characters of a message: a flag's value may be as long as the system allows, 128 KiB


class UserError(Exception):
    """A user's mistake, told in one line: what was given, what is allowed, the fix.

    Run scripts print the message without a traceback and exit with `exit_status`.
    """

    exit_status = 2

    def __str__(self) -> str:
        """The message. What it quotes may come from a damaged file: one line, and nothing that steers a terminal."""
        text = super().__str__()
        return text if text.isprintable() else "".join(_shown(c) for c in text)


def one_line(message: object) -> str:
    r"""``message`` as one line that any terminal shows: what does not print is spelt out, a very long middle left out.

    A folder's name may hold line ends, and codes that would move a terminal's cursor; a command line, bytes that are no
    text at all.

    Examples
    --------
    >>> print(one_line("--out a\nb\x1b[2J: no folder; name \udcff"))
    --out a\nb\x1b[2J: no folder; name \xff
    """
    text = "".join(_shown(c) for c in str(message))
    half = MOST // 2
    return text if len(text) <= MOST else f"{text[:half]} [{len(text) - 2 * half} characters] {text[-half:]}"


def words(error: BaseException) -> str:
    r"""What an exception of somebody else's says, in one line of bounded length; its kind, if it says nothing.

    Examples
    --------
    >>> words(ValueError("bad\n  magic"))
    'bad magic'
    >>> words(EOFError())
    'EOFError'
    """
    return " ".join(str(error).split())[:200] or type(error).__name__


def out_of_memory(error: BaseException) -> str | None:
    """What to say of an error that means: too large for this machine; None of any other."""
    # XLA raises a RuntimeError of its own kind.
    if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
        return None
    asked = re.search(r"allocat\w* (?:of )?([\d.]+ ?[KMGTPE]?i?B|\d+ bytes)", str(error))
    more = f" ({asked[1]} more were asked for)" if asked else ""
    return f"not enough memory{more}; use smaller networks, --batch-size, --clusters or --train-iw, or a larger machine"


def make_terminal_patient() -> None:
    """No character is an error for standard output: what its encoding lacks is spelt out, as stderr does anyway."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # an undecodable byte of the command line or of a file's name
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]

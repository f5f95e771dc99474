"""The one exception that means: the user can fix this."""


class UserError(Exception):
    """A user's mistake, told in one line: what was given, what is allowed, the fix.

    Run scripts print the message without a traceback and exit with `exit_status`.
    """

    exit_status = 2

    def __str__(self) -> str:
        """The message. What it quotes may come from a damaged file: one line, and nothing that steers a terminal."""
        text = super().__str__()
        return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

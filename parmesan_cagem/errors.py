"""The one exception that means: the user can fix this."""


class UserError(Exception):
    """A user's mistake, told in one line: what was given, what is allowed, the fix.

    Run scripts print the message without a traceback and exit with `exit_status`.
    """

    exit_status = 2

"""Errors that a user can act on."""


class UserError(Exception):
    """Bad input or configuration: one line that says what, where and how to go on.

    Entry scripts print it as `error: ...` and exit with code 2, without a traceback.
    Library callers catch it like any exception.
    """

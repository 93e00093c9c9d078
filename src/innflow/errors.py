"""The one exception that a user of innflow is meant to read."""

from __future__ import annotations


class InnflowError(Exception):
    """A mistake that the user can mend: one line that says what, where and what to do.

    The commands print it without a traceback and end with exit code 2; in Python it is an
    ordinary exception.
    """


class InnflowWarning(UserWarning):
    """Something odd in the input that innflow could go on with."""


class Stopped(SystemExit):
    """A signal ended a run that has been saved; the exit code is 128 and the signal's number.

    Args:
        message: one line for the user.
        signum: the signal.
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(128 + signum)
        self.message = message

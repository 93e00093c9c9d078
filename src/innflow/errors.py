"""Errors with a message for the user."""


class InnflowError(Exception):
    """An error that the user can correct; one line states the cause, the key and the remedy.

    The commands print it without a traceback and end with exit code 2.

    >>> raise InnflowError("depth=0: must be an integer of at least 1")
    Traceback (most recent call last):
    innflow.errors.InnflowError: depth=0: must be an integer of at least 1
    """


class Stopped(SystemExit):
    """The end of a saved run by a signal; the exit code is 128 plus the signal's number.

    Args:
        message: one line for the user.
        signum: the signal.
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(128 + signum)
        self.message = message


def positive(key: str, value: float) -> float:
    """Return a number; raise InnflowError, naming the key, if it is not above 0."""
    if not value > 0:
        raise InnflowError(f"{key}={value}: must be a number above 0")
    return float(value)


def cut(text: str, longest: int = 60) -> str:
    """Return a name or value of a file at a length that fits in a message.

    >>> cut("a" * 100, longest=5)
    'aaaaa...'
    """
    return f"{text[:longest]}..." if len(text) > longest else text

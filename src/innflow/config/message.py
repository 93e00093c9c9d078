"""Error messages on one line."""


def one_line(error: BaseException) -> str:
    r"""Return an error's message on one line, without Hydra's hints for debugging.

    >>> one_line(ValueError("a\n  b"))
    'a b'
    """
    text = str(error).split("Config search path:", maxsplit=1)[0]
    noise = ("HYDRA_FULL_ERROR", "See https://hydra.cc", "object_type=")
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not any(hint in line for hint in noise)]
    # The name of a file may hold control characters of a terminal.
    shown = (c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(kept))
    return "".join(shown) or type(error).__name__

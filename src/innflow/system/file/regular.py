"""Checks that a path is a regular file, before it is opened: a FIFO would block without end."""

import os
import stat

_KINDS = {
    stat.S_IFDIR: "is a folder",
    stat.S_IFIFO: "is a named pipe (FIFO)",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


def why_not_regular(path: str | os.PathLike[str]) -> str | None:
    """Return why a path cannot be opened as a file, such as "is a folder"; None for a file.

    >>> why_not_regular("nowhere"), why_not_regular(".")
    ('does not exist', 'is a folder')
    """
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except FileNotFoundError:
        return "is a link to a missing file" if os.path.islink(path) else "does not exist"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except ValueError as error:  # a null character in the path
        return f"cannot be read ({error})"
    return None if kind == stat.S_IFREG else _KINDS.get(kind, "is no regular file")

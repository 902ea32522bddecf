"""Errors and warnings that a user can act on."""

import errno
import os
import re


class UserError(Exception):
    """Bad input or configuration: one line that says what, where and how to go on.

    Entry scripts print it as `error: ...` and exit with code 2, without a traceback.
    Library callers catch it like any exception.
    """


class StemdefectsWarning(UserWarning):
    """What makes a result doubtful, as the commands print it: doubts, scales that disagree, frames left out.

    Library calls issue it by `warnings.warn`; `warnings.simplefilter("error", StemdefectsWarning)` makes it an error.
    """


_WAY_OUT = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "files may not be that large here",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "choose a folder that can be written to, or mend its permissions",
    errno.EPERM: "choose a folder that can be written to, or mend its permissions",
    errno.EIO: "the disk or its connection fails",
    errno.ESTALE: "the disk or its connection fails",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENOMEM: "free memory",
}  # what the machine refuses; anything else is our own mistake


def reason_of(error: BaseException | None) -> str | None:
    """What the machine refused, in one line with the way out; None when `error` is something else.

    Libraries wrap such errors in their own: causes are looked through, and the text that HDF5 puts a number in.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        number, name = getattr(error, "errno", None), getattr(error, "filename", None)
        found = re.search(r"errno = (\d+)", str(error)) if number not in _WAY_OUT else None
        if found and int(found.group(1)) in _WAY_OUT:
            number = int(found.group(1))
            written = re.search(r"filename = '([^']*)'", str(error))
            name = name or (written.group(1) if written else None)
        if number is None and "No space left on device" in str(error):
            number = errno.ENOSPC
        if number is None and isinstance(error, MemoryError):
            number = errno.ENOMEM
        if number in _WAY_OUT:
            text = os.strerror(number).lower()
            return f"{name}: {text}; {_WAY_OUT[number]}" if name else f"{text}; {_WAY_OUT[number]}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None

"""What the benchmarks share: options from the command line, and their part of a page."""

import sys
from collections.abc import Callable
from pathlib import Path


def options(arguments: list[str], defaults: dict[str, str]) -> dict[str, str]:
    """`defaults` with the `key=value` of `arguments`; what is no such option ends the script with exit code 2."""
    chosen = dict(defaults)
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in chosen or not value:
            print(f"error: '{argument}': options are {', '.join(f'{k}=' for k in chosen)}", file=sys.stderr)
            sys.exit(2)
        chosen[key] = value
    return chosen


def fill(page: Path, start: str, end: str, text: str) -> None:
    """Replace what stands between the marks `start` and `end` of `page`; marks that are not there come at its end."""
    old = page.read_text() if page.exists() else ""
    if start not in old:
        old = f"{old.rstrip()}\n\n{start}\n{end}\n".lstrip()
    head, rest = old.split(start, 1)
    page.write_text(f"{head}{start}\n{text}\n{end}{rest.split(end, 1)[1]}")


def write_page(run: Callable[[dict[str, str]], Path], defaults: dict[str, str]) -> None:
    """Call `run` with the command line's options and say what page it wrote; a `UserError` is one line, exit code 2."""
    from stemdefects.errors import UserError

    try:
        print(f"written: {run(options(sys.argv[1:], defaults))}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

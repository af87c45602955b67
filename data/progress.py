"""One way to show how far a long step has come."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

# progress(what, done, total): called now and then during downloads and conversions.
Progress = Callable[[str, int, int], None]


@contextlib.contextmanager
def progress_bar(
    what: str, total: int, progress: Progress | None, unit: str = "B", done: int = 0
) -> Iterator[Callable[[int], None]]:
    """Yield ``advance(n)``; shows a bar with the time left on stderr, or calls ``progress``.

    ``done`` is what an earlier, interrupted attempt has already finished.
    """
    if progress is not None:
        state = done
        progress(what, state, total)

        def advance(n: int) -> None:
            nonlocal state
            state += n
            progress(what, state, total)

        yield advance
        return

    from tqdm import tqdm

    with tqdm(
        desc=what,
        total=total,
        initial=done,
        unit=unit,
        unit_scale=unit == "B",
        unit_divisor=1024 if unit == "B" else 1000,
        file=sys.stderr,
        mininterval=0.2 if sys.stderr.isatty() else 10.0,  # a log file gets few lines
    ) as bar:
        yield bar.update

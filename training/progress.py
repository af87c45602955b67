"""A line with the time left, for what takes longer than a few seconds and is no training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tqdm import tqdm


def with_progress(
    function: Callable, title: str, *arguments: Any, unit: str = "it", leave: bool = False
) -> Any:
    """``function(*arguments)`` with a ``progress(done, total)`` that moves a bar.

    Args:
        title: what stands before the bar.
        unit: of ``done`` and ``total``.
        leave: whether the bar stays when it is full.
    """
    with tqdm(desc=title, unit=unit, leave=leave, mininterval=0.5) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return function(*arguments, progress=progress)

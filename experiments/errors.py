"""The one exception that is shown to the user as a sentence instead of a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user can put right: a wrong option, a missing or damaged file, no space left.

    The message says what was expected, what came and what to do. ``reproduce_paper.py`` prints it
    as one line and exits with code 2.
    """

"""A browser of this machine."""

from __future__ import annotations

import shutil

from tests.neighbours.report import Missing

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str:
    """The path of the browser.

    Raises:
        Missing: there is none.
    """
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        raise Missing(f"none of {', '.join(_NAMES)} is on the path")
    return found

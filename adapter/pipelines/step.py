"""What a step says when it ends. Steps can be repeated; whoever runs them decides about time and order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from adapter.domain.reasons import Reason


@dataclass(frozen=True, kw_only=True)
class Done:
    """Nothing is left to do for now."""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Come again at `until`."""

    until: datetime


@dataclass(frozen=True, kw_only=True)
class Park:
    """It cannot go as it is: refused or held, with the reason."""

    reason: Reason

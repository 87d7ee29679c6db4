"""Operations of the adapter at its ports, and what can go wrong with each."""

from __future__ import annotations

import re
from typing import Final

from tests.virtual.looks import READS

# Looks for work that come round by themselves: nothing depends on one of them.
IDLE: Final = frozenset(
    {"due", "waiting", "is_as_given", "is_waiting", "take", "leave", "by_message", "further"}
)

POST: Final = "POST message"
LISTING: Final = "GET messages"
CLAIM: Final = "FHIR PUT Communication/id"  # the first of them
CONTENT: Final = "GET content"
HISTORY: Final = "FHIR GET Communication/id/_history"
POST_FAULTS: Final = (
    "none", "apply-then-drop", "apply-then-500", "apply-then-429", "apply-late", "drop", "no-connection", "500", "503",
    "429", "429:7", "slow:15", "slow:40", "malformed", "no-id", "redirect",
)  # fmt: skip
_READ: Final = ("drop", "no-connection", "500", "429", "slow:15", "slow:70")
_LEDGER: Final = ("ledger-before", "ledger-after")

FAULTS: Final[dict[str, tuple[str, ...]]] = {
    POST: POST_FAULTS[1:],
    LISTING: (
        "drop",
        "500",
        "429",
        "malformed",
        "slow:15",
        "slow:70",
        "list-repeat",
        "list-move",
        "list-empty",
    ),
    "GET message": (*_READ, "malformed"),
    CONTENT: (*_READ, "404", "malformed"),
    "POST document": ("drop", "no-connection", "500", "429", "apply-then-drop", "malformed", "no-id"),
    "PUT upload": ("drop", "no-connection", "500", "apply-then-drop", "apply-then-500"),
}
_FHIR_READ: Final = ("drop", "no-connection", "503", "500", "429:7", "slow:15", "slow:70")
_FHIR_SEARCH: Final = (*_FHIR_READ, "unseen:30", "unseen:115")
_FHIR_WRITE: Final = (*_FHIR_READ, "409", "412", "apply-then-drop", "apply-then-500", "apply-late")

_METRIPORT: Final = (
    (re.compile(r"POST /medical/v1/message"), POST),
    (re.compile(r"GET /medical/v1/message"), LISTING),
    (re.compile(r"GET /medical/v1/message/.+"), "GET message"),
    (re.compile(r"POST /medical/v1/document/upload/?"), "POST document"),
    (re.compile(r"PUT /_uploads/.+"), "PUT upload"),
    (re.compile(r"GET /_files/.+"), CONTENT),
    (re.compile(r"POST /settings/webhook/request/.+/retry"), "POST retry"),
)


def of_metriport(method: str, path: str) -> str:
    """The kind of a request to Metriport."""
    asked = f"{method} {path}"
    return next((kind for pattern, kind in _METRIPORT if pattern.fullmatch(asked)), f"{method} other")


def of_fhir(method: str, path: str) -> str:
    """The kind of a request to the FHIR server."""
    parts = path.removeprefix("/fhir/").split("/")
    shape = {1: "", 2: "/id"}.get(len(parts), "/id/" + "/".join(parts[2:3]))
    return f"FHIR {method} {parts[0]}{shape}"


def of_ledger(method: str) -> str:
    """The kind of a call of the ledger."""
    return f"ledger {method}"


def changes(kind: str) -> bool:
    """Whether an operation of that kind may leave another world behind."""
    read = kind.removeprefix("ledger ") in READS if kind.startswith("ledger ") else "GET " in kind
    return not read


def faults_of(kind: str) -> tuple[str, ...]:
    """What can go wrong with an operation of that kind."""
    if kind.startswith("ledger "):
        return _LEDGER
    if kind.startswith("FHIR "):
        if " GET " in kind:
            return _FHIR_READ if kind.endswith(("/id", "/_history")) else _FHIR_SEARCH
        return _FHIR_WRITE
    return FAULTS.get(kind, _READ)


def drawn_fault(kind: str, choice: float) -> str:
    """One of them; `choice` is from 0 to 1."""
    faults = faults_of(kind)
    return faults[int(choice * len(faults))]

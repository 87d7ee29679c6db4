"""Plain text as Metriport counts and keeps it (Metriport contract §1 and §2).

Lengths are UTF-16 code units: an emoji is two of them. Python's `len()` says one.
"""

from __future__ import annotations

import re
from typing import Final

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# What JavaScript's trim() takes away; Python's strip() knows neither U+FEFF nor to leave U+0085 alone
# (https://tc39.es/ecma262/#sec-white-space, https://tc39.es/ecma262/#sec-line-terminators).
_BLANKS: Final = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
_ELLIPSIS: Final = "…"
_SEARCH_SIGNS: Final = re.compile(r"[\\$,|]")


def utf16_length(text: str) -> int:
    """The text's length in UTF-16 code units."""
    return len(_units(text)) // 2


def normalise(text: str) -> str:
    """The text as Metriport keeps it: control characters other than tab, LF and CR taken out, the ends trimmed.

    Half a surrogate pair, which JSON can carry and UTF-8 cannot, becomes U+FFFD. Doing it twice changes nothing.
    """
    return _CONTROLS.sub("", well_formed(text)).strip(_BLANKS)


def well_formed(text: str) -> str:
    """The text with surrogates joined to characters, and U+FFFD for each one that is alone."""
    return _units(text).decode("utf-16-le", "replace")


def literal(value: str) -> str:
    """The value of a FHIR search parameter that means just this, whatever somebody wrote: a comma would mean "or".

    https://hl7.org/fhir/R4/search.html#escaping
    """
    return _SEARCH_SIGNS.sub(r"\\\g<0>", well_formed(value))


def clip(text: str, units: int) -> str:
    """The text cut to at most that many UTF-16 units, never inside a character.

    What was cut ends in an ellipsis, if there is room for one beside a character.
    """
    if utf16_length(text) <= units:
        return text
    cut = _cut(text, units - utf16_length(_ELLIPSIS))
    return cut.rstrip(_BLANKS) + _ELLIPSIS if cut else _cut(text, units)


def _cut(text: str, units: int) -> str:
    # "ignore" drops the half that a cut in the middle of a pair would leave.
    return _units(text)[: 2 * max(units, 0)].decode("utf-16-le", "ignore")


def _units(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")

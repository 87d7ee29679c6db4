"""What a site may change without code: how FHIR becomes Metriport's JSON."""

from __future__ import annotations

from typing import Any, Protocol


class Mappings(Protocol):
    """Named templates."""

    def render(self, name: str, **context: object) -> dict[str, Any]:
        """What the template makes, empty values left out.

        Raises:
            MappingError: the template or what it made is wrong.
        """
        ...

"""JSON Patch inside a transaction: a Binary of type `application/json-patch+json` as the entry's resource.

https://hl7.org/fhir/R4/http.html#patch
"""

from __future__ import annotations

import base64
import copy
from typing import Any, Final

import simplejson

from adapter.simulators.fhir.outcome import Refused, Resource

_TYPE: Final = "application/json-patch+json"


def patched(resource: Resource, patch: Resource) -> Resource:
    """The resource after the patch. Only `add` of a top-level element is known here: nobody uses more.

    Raises:
        Refused: it is no such patch.
    """
    result = copy.deepcopy(resource)
    for operation in _operations(patch):
        place = str(operation.get("path", ""))
        if operation.get("op") != "add" or place.count("/") != 1 or "value" not in operation:
            raise Refused(400, "This server only patches by adding top-level elements")
        result[place[1:]] = operation["value"]
    return result


def _operations(patch: Resource) -> list[dict[str, Any]]:
    if patch.get("resourceType") != "Binary" or patch.get("contentType") != _TYPE:
        raise Refused(400, f"A PATCH in a transaction is a Binary of type {_TYPE}")
    try:
        found = simplejson.loads(base64.b64decode(patch.get("data", "")), use_decimal=True)
    except ValueError:
        raise Refused(400, "The patch is not JSON") from None
    return [operation for operation in found if isinstance(operation, dict)]

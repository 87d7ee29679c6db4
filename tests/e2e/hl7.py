"""HL7's official R4 examples, fetched for the run and never committed (https://hl7.org/fhir/R4/downloads.html)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.neighbours.report import missing

PACKAGE: Final = "hl7.fhir.r4.examples"
VERSION: Final = "4.0.1"

# Elements of the datatype Attachment carry these and no others (https://hl7.org/fhir/R4/datatypes.html#Attachment).
_ELEMENTS: Final = frozenset(
    {
        "id",
        "extension",
        "contentType",
        "language",
        "data",
        "url",
        "size",
        "hash",
        "title",
        "creation",
        "_data",
    }
)


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """One Attachment of the examples, and where it stands."""

    where: str
    element: Mapping[str, Any]


@cache
def examples() -> list[dict[str, Any]]:
    """Every example resource once. Skips the test where the package cannot be had."""
    found: dict[str, dict[str, Any]] = {}
    with tarfile.open(_package()) as package:
        for member in package:
            if not member.name.endswith(".json") or not member.size:
                continue
            file = package.extractfile(member)
            assert file is not None
            resource = json.loads(file.read())
            if "resourceType" in resource:
                found[reference_of(resource)] = resource
    return list(found.values())


def reference_of(resource: Mapping[str, Any]) -> str:
    """`Type/id`."""
    return f"{resource['resourceType']}/{resource['id']}"


def of_type(kind: str) -> list[dict[str, Any]]:
    """The examples of a type."""
    return [resource for resource in examples() if resource["resourceType"] == kind]


def attachments() -> list[Attachment]:
    """Every Attachment anywhere in the examples, contained and bundled resources included."""
    return [
        Attachment(where=f"{reference_of(resource)} {path}", element=element)
        for resource in examples()
        for path, element in _objects(resource, "")
        if _is_attachment(element)
    ]


def _objects(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        yield path, value
        for name, inner in value.items():
            yield from _objects(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _objects(inner, f"{path}[{index}]")


def _is_attachment(element: Mapping[str, Any]) -> bool:
    named = element.keys()
    # An extension has a url, too; the one example Attachment without contentType has a title.
    says = bool("contentType" in named and {"data", "url"} & named) or {"url", "title"} <= named
    return says and named <= _ELEMENTS


def _package() -> Path:
    name = f"{PACKAGE}-{VERSION}.tgz"
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache_home / "metriport-fhir-adapter" / "npm"
    package = folder / name
    if not package.is_file():
        if shutil.which("npm") is None:
            missing("npm", f"{PACKAGE} {VERSION} cannot be fetched: there is no npm")
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(folder)
    if not tarfile.is_tarfile(package):
        missing("npm", f"{PACKAGE} {VERSION} in the cache is no archive: delete {name} there")
    return package


def _fetch(folder: Path) -> None:
    command = ["npm", "pack", f"{PACKAGE}@{VERSION}", "--silent"]
    try:
        packed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        missing("npm", f"{PACKAGE} {VERSION} cannot be fetched: npm took longer than two minutes")
    if packed.returncode:
        missing("npm", f"{PACKAGE} {VERSION} cannot be fetched: npm ended with status {packed.returncode}")

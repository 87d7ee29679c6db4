"""Where templates come from: a site's directory first, then the packaged ones."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final

from jinja2 import BaseLoader, Environment, Template, TemplateNotFound

from adapter.errors import ConfigError, MappingError
from adapter.mapping.sandbox import Sandbox, restrict

SUFFIX: Final = ".json.j2"

_NAME: Final = re.compile(r"\w[\w\-]*(/\w[\w\-]*)*(\.\w+)*")
_WORD: Final = re.compile(r"\w[\w\-]*")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def packaged(package: Path) -> Path:
    """The directory of the packaged mappings: in a wheel within the package, in a checkout beside it."""
    installed = package / "_mappings"
    return installed if installed.is_dir() else package.parent / "mappings"


class Sources(BaseLoader):
    """Templates by name, `outbound/message.json.j2`; read once, when they are first used."""

    def __init__(self, directory: Path | None) -> None:
        if directory is not None and not directory.is_dir():
            raise ConfigError("mappings.directory is not a directory. Create it, or leave the setting out.")
        self._site = directory
        self._packaged = packaged(Path(__file__).resolve().parents[1])
        self._names = _mappings_in(self._packaged)
        self._words: set[str] = set()

    @property
    def words(self) -> frozenset[str]:
        """All words in the templates read so far. What is among them can be shown: it is not from a value."""
        return frozenset(self._words)

    def names(self) -> list[str]:
        """The packaged mappings, as `outbound/message`."""
        return list(self._names)

    def overridden(self) -> list[str]:
        """The names for which the site has its own file."""
        return [name for name in self.names() if self.has_own(name + SUFFIX)]

    def strays(self) -> list[str]:
        """Files of the site that are named like mappings and override none."""
        return [name for name in _mappings_in(self._site) if name not in self._names] if self._site else []

    def has_own(self, file: str) -> bool:
        """Whether the site has its own file of that name."""
        return self._in_site(file) is not None

    def find(self, file: str) -> Path | None:
        """The file that counts; `None` when neither place has it, or the name leads out of them."""
        if not _NAME.fullmatch(file):
            return None
        inside = self._packaged / file
        return self._in_site(file) or (inside if inside.is_file() else None)

    def _in_site(self, file: str) -> Path | None:
        path = self._site / file if self._site else None
        return path if path and path.is_file() else None

    def load(
        self,
        environment: Environment,
        name: str,
        globals: MutableMapping[str, Any] | None = None,  # noqa: A002
    ) -> Template:
        """The compiled template, as Jinja asks for it.

        Raises:
            MappingError: it cannot be read, or uses what mappings may not.
        """
        path = self.find(name)
        if path is None or not isinstance(environment, Sandbox):
            raise TemplateNotFound(name)
        source = read(path, template=name)
        self._words.update(_WORD.findall(source))
        tree = restrict(environment.parse(source, name, name), environment, template=name)
        code = environment.compile(tree, name, name)
        return environment.template_class.from_code(environment, code, dict(globals or {}))


def read(path: Path, *, template: str) -> str:
    """A template's text.

    Raises:
        MappingError: it cannot be read, is not UTF-8, or has control characters.
    """
    line: int | None = None
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        problem = f"cannot be read ({type(error).__name__})"
    except UnicodeDecodeError as error:
        problem, line = "is not UTF-8", data[: error.start].count(b"\n") + 1
    else:
        found = _CONTROL.search(text)
        if found is None:
            return text
        problem, line = "has a control character", text[: found.start()].count("\n") + 1
    raise MappingError(problem, template=template, line=line)


def _mappings_in(directory: Path) -> list[str]:
    return sorted(
        path.relative_to(directory).as_posix().removesuffix(SUFFIX) for path in directory.rglob("*" + SUFFIX)
    )

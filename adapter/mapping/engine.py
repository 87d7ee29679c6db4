"""Renders mappings, and checks them. `mappings/README.md` is for those who write them.

No error tells a value of the context: these are patient content. Templates, lines, JSON paths, and names that stand in
a template are told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import simplejson
from jinja2 import Template, meta
from jinja2.exceptions import SecurityError, TemplateNotFound, TemplateSyntaxError, UndefinedError

from adapter.errors import MappingError
from adapter.mapping import examples, validate
from adapter.mapping.sandbox import (
    MOST_OUTPUT,
    MOST_STEPS,
    Misplaced,
    NotJson,
    Output,
    Placed,
    Runaway,
    Sandbox,
    TooMuch,
    run,
)
from adapter.mapping.sources import SUFFIX, Sources

_SENTENCES: Final[Mapping[type[Exception], str]] = {
    SecurityError: "is not allowed in a mapping",
    UndefinedError: "is not defined",
    TemplateNotFound: "includes a template that does not exist",
    Misplaced: "a value stands inside quotation marks; it brings its own",
    TooMuch: f"makes more than {MOST_OUTPUT} characters",
    NotJson: "a value cannot be written as JSON",
    Runaway: f"goes round more than {MOST_STEPS} times",
    OverflowError: "counts too far",
    MemoryError: "makes too much",
    RecursionError: "includes itself without end, or nests too deep",
}
_NAMING: Final = (SecurityError, UndefinedError)


class _Duplicate(Exception):
    """Two members of one object have the same name."""


class Mappings:
    """The mappings of this installation: the packaged ones, single files of them overridden by a site's directory."""

    def __init__(self, *, directory: Path | None) -> None:
        """Reads nothing yet: a template is read when it is first used, and then kept until the process ends.

        Raises:
            ConfigError: the directory is none.
        """
        self._sources = Sources(directory)
        self._environment = Sandbox(self._sources)

    def names(self) -> list[str]:
        """All mappings, as `outbound/message`."""
        return self._sources.names()

    def overridden(self) -> list[str]:
        """Those for which the site has its own file."""
        return self._sources.overridden()

    def source(self, name: str) -> Path:
        """The file that counts.

        Raises:
            MappingError: there is no such mapping.
        """
        path = self._sources.find(name + SUFFIX) if name in self.names() else None
        if path is None:
            raise MappingError(
                f"there is no such mapping; there are {', '.join(self.names())}", template=name
            )
        return path

    def render(self, name: str, **context: object) -> dict[str, Any]:
        """What the mapping makes of the context, empty values left out, held against the rules for it.

        Numbers come as `Decimal` or `int`, so that `1.50` stays `1.50`.

        Raises:
            MappingError: the template fails, does not make a JSON object, or makes one that breaks the rules.
        """
        self.source(name)
        template = name + SUFFIX
        made: dict[str, Any] = without_empty(self._object(self._output(template, context), template))
        validate.require(name, made, template=template, words=self._sources.words)
        return made

    def check(self) -> list[MappingError]:
        """Compiles every mapping and renders it with its examples; what is wrong, in order of names."""
        found = [
            MappingError(f"overrides nothing; there are {', '.join(self.names())}", template=stray + SUFFIX)
            for stray in self._sources.strays()
        ]
        for name in self.names():
            try:
                found.extend(self._check(name))
            except MappingError as error:
                found.append(error)
        return found

    def _check(self, name: str) -> Iterator[MappingError]:
        cases = examples.load(self._sources, name)
        template = name + SUFFIX
        self._compiled(template)
        known = {key for case in cases for key in case.context} | set(self._environment.globals)
        tree = self._environment.parse(self.source(name).read_text("utf-8-sig"))
        for unknown in sorted(meta.find_undeclared_variables(tree) - known):
            yield MappingError(f"{unknown} is not in its context", template=template)
        for case in cases:
            made = self.render(name, **case.context)
            if case.expected is None:
                continue
            path = examples.difference(case.expected, made)
            if path is not None:
                yield MappingError(
                    f"example “{case.about}” makes something else", template=template, path=path
                )

    def _compiled(self, template: str) -> Template:
        # Raised outside of `except`, here and below: the original error holds values, and a log prints causes.
        try:
            return self._environment.get_template(template)
        except MappingError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  # a template may raise anything
            failure = self._explained(error, template)
        raise failure

    def _output(self, template: str, context: Mapping[str, object]) -> Output:
        compiled = self._compiled(template)
        try:
            return run(compiled.root_render_func(compiled.new_context(dict(context))), template=template)
        except MappingError as error:
            failure = error
        except Exception as error:  # noqa: BLE001
            failure = self._explained(error, template)
        raise failure

    def _object(self, output: Output, template: str) -> dict[str, Any]:
        place: tuple[str, int | None] = (template, None)
        try:
            made = simplejson.loads(output.text, use_decimal=True, object_pairs_hook=_members)
        except simplejson.JSONDecodeError as error:
            place = output.line(error.pos)
            problem = f"is not JSON from here: {error.msg.removesuffix(' at').removesuffix(' %r')}"
        except _Duplicate as error:
            problem = "makes an object with two members of the same name" + self._shown(": ", error)
        except (ValueError, RecursionError):
            problem = "makes a number or a nesting beyond all measure"
        else:
            if isinstance(made, dict):
                return made
            problem = "does not make a JSON object"
        raise MappingError(problem, template=place[0], line=place[1])

    def _explained(self, error: Exception, template: str) -> MappingError:
        if isinstance(error, TemplateSyntaxError):
            return MappingError(str(error.message), template=error.name or template, line=error.lineno)
        if isinstance(error, Placed):
            return MappingError(_SENTENCES[type(error)], template=error.template, line=error.line)
        place, line = _place(error) or (template, None)
        sentence = next((text for kind, text in _SENTENCES.items() if isinstance(error, kind)), None)
        if isinstance(error, _NAMING):
            sentence = (self._shown("", error) or "something") + f" {sentence}"
        return MappingError(sentence or f"fails with {type(error).__name__}", template=place, line=line)

    def _shown(self, before: str, error: Exception) -> str:
        name = str(error.args[0]) if error.args else ""
        return before + name if name in self._sources.words else ""


def _place(error: Exception) -> tuple[str, int] | None:
    """The innermost template and line that the error came through."""
    found = None
    trace = error.__traceback__
    while trace is not None:
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if isinstance(template, Template):
            found = (str(template.name), template.get_corresponding_lineno(trace.tb_lineno))
        trace = trace.tb_next
    return found


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise _Duplicate(name)
        made[name] = value
    return made


def without_empty(value: Any) -> Any:
    """The JSON value without null, "", [] and {} in it, however deep; an object or list stays one."""
    if isinstance(value, dict):
        kept = ((name, without_empty(inner)) for name, inner in value.items())
        return {name: inner for name, inner in kept if not _empty(inner)}
    if isinstance(value, list):
        return [kept for kept in map(without_empty, value) if not _empty(kept)]
    return value


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | dict | list) and not value)

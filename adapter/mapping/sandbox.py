"""Jinja as mappings may use it: every value becomes JSON, nothing reaches out of the template.

Two kinds of marks travel through the output and are taken out again: where a line of a template begins, so that
broken JSON is reported with the template's line, and where a value begins, so that none stands inside quotation marks.
They are control characters, which neither a template nor a value written as JSON can contain.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import simplejson
from jinja2 import BaseLoader, StrictUndefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from jinja2.utils import Namespace

from adapter.errors import MappingError
from adapter.mapping.filters import FILTERS

MOST_OUTPUT: Final = (
    20_000_000  # R4 allows a string of a million characters, and a Communication may have several
)
MOST_STEPS: Final = 100_000
_MOST_NUMBER: Final = 10**15

_LINE, _VALUE = "\x1d", "\x1e"
_MARKS: Final = re.compile(r'\x1d([^\x1d]*):(\d+)\x1d|\x1e|\\[^\x1d\x1e]|"')

_COUNTED: Final = "counted "  # with a blank: a name that no template can write

_JINJA_FILTERS: Final = (
    "default", "d", "first", "last", "length", "count", "list", "join", "lower", "upper", "trim", "replace",
    "map", "select", "reject", "selectattr", "rejectattr", "sort", "unique", "string", "int", "dictsort", "items",
)  # fmt: skip
_JINJA_GLOBALS: Final = {"range": safe_range, "namespace": Namespace}

# Jinja's text-making blocks give strings, and a string is quoted: what looks like JSON would arrive as text.
_NOT_HERE: Final[Mapping[type[nodes.Node], str]] = {
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.AssignBlock: "set block",
    nodes.FilterBlock: "filter block",
    nodes.Import: "import",
    nodes.FromImport: "from",
    nodes.Extends: "extends",
    nodes.Block: "block",
    nodes.ScopedEvalContextModifier: "autoescape",
}
_PADDING: Final = frozenset({"center", "expandtabs", "format", "format_map", "ljust", "rjust", "zfill"})


class Runaway(Exception):
    """A template that goes round too often."""


class NotJson(Exception):
    """A value that JSON cannot hold."""


class Placed(Exception):
    """Something wrong with the output, where it was made."""

    def __init__(self, template: str, line: int) -> None:
        super().__init__()
        self.template = template
        self.line = line


class Misplaced(Placed):
    """A value inside quotation marks."""


class TooMuch(Placed):
    """More output than any mapping has a use for."""


@dataclass(kw_only=True)
class _Run:
    """What one rendering has used up."""

    steps: int = 0


_RUN: ContextVar[_Run] = ContextVar("mapping_run")


class _Undefined(StrictUndefined):
    """Fails with the bare name that is missing, which the engine shows if it stands in the template."""

    @property
    def _undefined_message(self) -> str:
        return str(self._undefined_name or "")


class _Marks(Extension):
    """Marks each line and each value on its way into the output."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        """The same tokens, marks put in."""
        for token in stream:
            mark = f"{_LINE}{stream.name}:%d{_LINE}"
            if token.type == "data":
                lines = token.value.split("\n")
                marked = (mark % (token.lineno + index) + line for index, line in enumerate(lines))
                yield Token(token.lineno, "data", "\n".join(marked))
                continue
            if token.type == "variable_begin":
                yield Token(token.lineno, "data", mark % token.lineno)
            yield token


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of all mappings."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, loader: BaseLoader) -> None:
        super().__init__(
            loader=loader,
            undefined=_Undefined,
            finalize=_as_json,
            autoescape=False,
            auto_reload=False,
            extensions=[_Marks],
        )
        self.globals = dict(_JINJA_GLOBALS)
        self.filters = (
            {name: self.filters[name] for name in _JINJA_FILTERS} | dict(FILTERS) | {_COUNTED: _counted}
        )

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Nothing that changes a value, and nothing that pads a text to any length."""
        padding = isinstance(obj, str) and attr in _PADDING
        return not padding and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Multiplication and remainder of numbers of everyday size only: texts and towers of powers grow too fast."""
        if operator == "**" or not (_everyday(left) and _everyday(right)):
            raise SecurityError
        return super().call_binop(context, operator, left, right)


def _everyday(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and -_MOST_NUMBER < value < _MOST_NUMBER


def restrict(tree: nodes.Template, environment: Sandbox, *, template: str) -> nodes.Template:
    """The parsed template, held to what mappings may use, its loops counted.

    Raises:
        MappingError: it uses something else.
    """
    for kind, word in _NOT_HERE.items():
        for node in tree.find_all(kind):
            raise MappingError(f"a mapping cannot use {word}", template=template, line=node.lineno)
    for kind, known in ((nodes.Filter, environment.filters), (nodes.Test, environment.tests)):
        for node in tree.find_all(kind):
            if node.name not in known:
                word = kind.__name__.lower()
                raise MappingError(f"there is no {word} {node.name}", template=template, line=node.lineno)
    for loop in list(tree.find_all(nodes.For)):
        if loop.recursive:
            raise MappingError("a mapping cannot use recursive", template=template, line=loop.lineno)
        loop.iter = nodes.Filter(loop.iter, _COUNTED, [], [], None, None, lineno=loop.lineno)
    return tree


@dataclass(frozen=True, kw_only=True)
class Output:
    """Rendered text without its marks, which knows the template and line of every position."""

    text: str
    starts: list[int] = field(repr=False)
    lines: list[tuple[str, int]] = field(repr=False)

    def line(self, position: int) -> tuple[str, int]:
        """Template and line that made the character there."""
        return self.lines[bisect_right(self.starts, position) - 1]


def run(chunks: Iterable[str], *, template: str) -> Output:
    """Takes what a template puts out.

    Raises:
        Runaway: it took too many steps.
        TooMuch: it is more than `MOST_OUTPUT` characters.
        Misplaced: a value stands inside quotation marks.
    """
    token = _RUN.set(_Run())
    try:
        kept, size = [], 0
        for chunk in chunks:
            kept.append(chunk)
            size += len(chunk)
            if size > MOST_OUTPUT:
                raise TooMuch(*_unmarked("".join(kept), template).lines[-1])
    finally:
        _RUN.reset(token)
    return _unmarked("".join(kept), template)


def _unmarked(marked: str, template: str) -> Output:
    pieces: list[str] = []
    starts, lines = [0], [(template, 1)]
    done = length = 0
    quoted = False
    for match in _MARKS.finditer(marked):
        if match[0] == '"':
            quoted = not quoted
        elif match[0] == _VALUE and quoted:
            raise Misplaced(*lines[-1])
        elif match[0].startswith((_LINE, _VALUE)):
            pieces.append(marked[done : match.start()])
            length += match.start() - done
            done = match.end()
            if match[1] is not None:
                starts.append(length)
                lines.append((match[1], int(match[2])))
    pieces.append(marked[done:])
    return Output(text="".join(pieces), starts=starts, lines=lines)


def _counted(items: Iterable[Any]) -> Iterator[Any]:
    used = _RUN.get()
    for item in items:
        used.steps += 1
        if used.steps > MOST_STEPS:
            raise Runaway
        yield item


def _as_json(value: object) -> str:
    # Control characters are always escaped, so no mark can come out of a value.
    written = simplejson.dumps(
        value,
        use_decimal=True,
        ensure_ascii=False,
        allow_nan=False,
        encoding=None,
        namedtuple_as_object=False,
        default=_other,
    )
    return _VALUE + written


def _other(value: object) -> Any:
    if isinstance(value, _Undefined):
        str(value)  # raises, naming what is missing
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterator):
        return list(value)
    raise NotJson

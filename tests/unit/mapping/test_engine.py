"""Overriding, and what errors say and do not say."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from jinja2 import DictLoader

from adapter.errors import ConfigError, MappingError
from adapter.mapping.engine import Mappings
from adapter.mapping.sandbox import Sandbox, run

CANARY = "Wilhelmina-Canary"
FILE = "outbound/message.json.j2"

Site = Callable[..., Mappings]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Mappings of a site with these files: path → text or bytes."""

    def make(files: dict[str, str | bytes]) -> Mappings:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return Mappings(directory=tmp_path)

    return make


def context(**changed: Any) -> dict[str, Any]:
    """A message whose every value is a canary."""
    patient = {"name": CANARY, CANARY: CANARY, "number": 7}
    given: dict[str, Any] = {
        "destination": CANARY,
        "subject": CANARY,
        "body": CANARY,
        "attachments": [],
        "npis": [CANARY],
        "communication": patient,
        "odd": {"bytes": CANARY.encode(), "set": {CANARY}, "nan": float("nan")},
    }
    return given | changed


def failure(mappings: Mappings, **changed: Any) -> MappingError:
    """The error of rendering a message; nothing that a log could print of it tells a value."""
    with pytest.raises(MappingError) as caught:
        mappings.render("outbound/message", **context(**changed))
    error = caught.value
    printed = "".join(traceback.format_exception(error))
    assert CANARY not in printed
    assert (error.__cause__, error.__context__) == (None, None)
    assert CANARY not in repr(error.__dict__)
    return error


def test_a_site_overrides_one_file_and_only_that(site: Site) -> None:
    mappings = site({FILE: '{"destination": {{ destination }}, "subject": "Ours", "body": {{ body }}}'})

    made = mappings.render("outbound/message", **context())

    assert made == {"destination": CANARY, "subject": "Ours", "body": CANARY}
    assert mappings.overridden() == ["outbound/message"]
    assert mappings.source("outbound/message").read_text().startswith('{"destination"')
    assert mappings.source("outbound/text") == Mappings(directory=None).source("outbound/text")
    assert mappings.render("outbound/text", communication={}, default_subject="S") == {"subject": "S"}


def test_a_template_is_kept_until_the_process_ends(site: Site) -> None:
    mappings = site({FILE: '{"destination": "a", "subject": "old", "body": "b"}'})
    mappings.render("outbound/message", **context())
    site({FILE: '{"destination": "a", "subject": "new", "body": "b"}'})

    assert mappings.render("outbound/message", **context())["subject"] == "old"


def test_templates_share_parts_by_including_them(site: Site) -> None:
    mappings = site(
        {
            FILE: '{"destination": "a", "subject": {% include "parts/subject.j2" %}, "body": "b"}',
            "parts/subject.j2": "{{ subject }}",
        }
    )

    assert mappings.render("outbound/message", **context())["subject"] == CANARY


def test_a_byte_order_mark_does_no_harm(site: Site) -> None:
    mappings = site({FILE: b'\xef\xbb\xbf{"destination": "a", "subject": "s", "body": "b"}'})

    assert mappings.render("outbound/message", **context())["subject"] == "s"
    assert mappings.check() == []


def test_the_directory_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mappings\.directory"):
        Mappings(directory=tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["outbound/nothing", "../pyproject", "/etc/passwd", "outbound/message.json.j2", ""]
)
def test_an_unknown_mapping_is_named_with_those_there_are(name: str) -> None:
    mappings = Mappings(directory=None)

    with pytest.raises(
        MappingError,
        match="there is no such mapping; there are inbound/communication, inbound/documentreference",
    ):
        mappings.render(name)


def test_empty_values_are_left_out_and_numbers_stay_as_written(site: Site) -> None:
    mappings = site({"outbound/text.json.j2": "{{ communication }}"})
    communication: dict[str, Any] = {"subject": "s", "body": None, "x": [None, "", [], {}, {"y": [""]}]}

    assert mappings.render("outbound/text", communication=communication) == {"subject": "s"}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ('a "quoted" \\ text\n', '"a \\"quoted\\" \\\\ text\\n"'),
        (Decimal("1.50"), "1.50"),
        (7, "7"),
        (True, "true"),
        (None, "null"),
        (["a", {"b": ()}], '["a", {"b": []}]'),
        (MappingProxyType({"a": 1}), '{"a": 1}'),
        (iter("ab"), '["a", "b"]'),
    ],
)
def test_values_of_every_kind_are_written_as_json(value: object, written: str) -> None:
    environment = Sandbox(DictLoader({"t": "[{{ value }}]"}))
    template = environment.get_template("t")

    made = run(template.root_render_func(template.new_context({"value": value})), template="t")

    assert made.text == f"[{written}]"


def test_numbers_and_loops_work_as_jinja_s(site: Site) -> None:
    mappings = site(
        {
            "outbound/text.json.j2": """{
              {% set seen = namespace(count=0) %}
              {% for one in values %}{% set seen.count = seen.count + loop.length %}{% endfor %}
              {% if seen.count == 9 and 6 % 4 * 2 == 4 and values | map("string") | list | length == 3
                    and elsewhere is not defined %}
              "subject": "all"
              {% endif %}
            }"""
        }
    )

    assert mappings.render("outbound/text", values=[Decimal("1.50"), True, 0]) == {"subject": "all"}


@pytest.mark.parametrize(
    ("template", "line", "says"),
    [
        ('{\n "a": {{ nowhere }}}', 2, "nowhere is not defined"),
        ('{\n "a": {{ communication.nowhere.deeper }}}', 2, "nowhere is not defined"),
        ('{\n "a": {{ [communication.nowhere] }}}', 2, "nowhere is not defined"),
        ('{\n "a": {{ {"b": communication.nowhere} }}}', 2, "nowhere is not defined"),
        ('{\n "a": {{ communication.nowhere | plain }}}', 2, "nowhere is not defined"),
        ("{\n\n {% if communication.nowhere %}{% endif %}}", 3, "nowhere is not defined"),
        ('{\n "a": {{ communication[communication.name ~ 1] }}}', 2, "something is not defined"),
        ('{\n "a": {{ [] | first }}}', 2, "something is not defined"),
        ('{\n "a": {{ communication.__class__ }}}', 2, "__class__ is not allowed in a mapping"),
        ('{\n "a": {{ communication.pop("name") }}}', 2, "pop is not allowed in a mapping"),
        ('{\n "a": {{ subject.ljust(1000000000) }}}', 2, "ljust is not allowed in a mapping"),
        (
            '{\n "a": {{ communication[communication.name].__class__ }}}',
            2,
            "__class__ is not allowed in a mapping",
        ),
        ('{\n "a": {{ subject * 1000000000 }}}', 2, "something is not allowed in a mapping"),
        ('{\n "a": {{ 9 ** 9 ** 9 }}}', 2, "something is not allowed in a mapping"),
        ('{\n "a": {{ 9999999999999999 * 3 }}}', 2, "something is not allowed in a mapping"),
        ('{\n "a": {{ range(1000000000) | list }}}', 2, "counts too far"),
        ('{\n "a": {{ subject + 1 }}}', 2, "fails with TypeError"),
        ('{\n "a": {{ odd.bytes }}}', 2, "cannot be written as JSON"),
        ('{\n "a": {{ odd.set }}}', 2, "cannot be written as JSON"),
        ('{\n "a": {{ odd.nan }}}', 2, "fails with ValueError"),
        ('{\n "a": "{{ subject }}"}', 2, "a value stands inside quotation marks"),
        (
            '{\n "a": "\\"{% if subject %} {{ subject }}{% endif %}"}',
            2,
            "a value stands inside quotation marks",
        ),
        ("{\n {% if %}}", 2, "Expected an expression"),
        ('{\n "a": {{ subject', 2, "unexpected end of template"),
        ("{\n {{ subject | nowhere }}}", 2, "there is no filter nowhere"),
        ("{\n {% if false %}{{ subject is nowhere }}{% endif %}}", 2, "there is no test nowhere"),
        ("{\n {{ subject | safe }}}", 2, "there is no filter safe"),
        ("{\n {% macro one() %}{% endmacro %}}", 2, "a mapping cannot use macro"),
        ("{\n {% set one %}{% endset %}}", 2, "a mapping cannot use set block"),
        ("{\n {% block one %}{% endblock %}}", 2, "a mapping cannot use block"),
        ('{\n {% extends "x" %}}', 2, "a mapping cannot use extends"),
        ('{\n {% import "x" as x %}}', 2, "a mapping cannot use import"),
        ('{\n {% from "x" import x %}}', 2, "a mapping cannot use from"),
        ("{\n {% call x() %}{% endcall %}}", 2, "a mapping cannot use call"),
        ("{\n {% filter upper %}{% endfilter %}}", 2, "a mapping cannot use filter block"),
        ("{\n {% autoescape true %}{% endautoescape %}}", 2, "a mapping cannot use autoescape"),
        ("{\n {% for x in [] recursive %}{% endfor %}}", 2, "a mapping cannot use recursive"),
        ('{\n "a": {% include communication.name %}}', 2, "includes a template that does not exist"),
        ('{\n "a": {% include "../../x.j2" %}}', 2, "includes a template that does not exist"),
        (f'{{\n "a": {{% include "{FILE}" %}}}}', 2, "includes itself without end"),
        ('{\n "a": {{ subject }}\n "b": {{ subject }}}', 3, "is not JSON from here: Expecting ',' delimiter"),
        ('{\n "a": {{ subject }},\n}', 2, "is not JSON from here"),
        ('{\n "a": "x\ty"}', 2, "is not JSON from here: Invalid control character"),
        ('{\n "a": NaN}', 2, "is not JSON from here"),
        ("", 1, "is not JSON from here"),
        (b'{\n\n "a": "\xff"}', 3, "is not UTF-8"),
        (b'{\n "a": "\x1e"}', 2, "has a control character"),
        ('{\n "a": 1, "a": 2}', None, "two members of the same name: a"),
        ("{{ [communication.name] }}", None, "does not make a JSON object"),
        ('{\n "a": ' + "[" * 100_000 + "}", None, "beyond all measure"),
    ],
)
def test_an_error_tells_file_line_and_kind(
    site: Site, template: str | bytes, line: int | None, says: str
) -> None:
    error = failure(site({FILE: template}))

    assert (error.template, error.line) == (FILE, line)
    assert says in str(error)


def test_a_member_that_comes_from_a_value_is_not_named(site: Site) -> None:
    twice = "{ {{ communication.name }}: 1, {{ communication.name }}: 2 }"

    assert str(failure(site({FILE: twice}))).endswith("two members of the same name")


def test_a_loop_has_an_end(site: Site) -> None:
    rounds = "{\n{% for a in range(100000) %}\n{% for b in range(100000) %}{% endfor %}{% endfor %}}"

    error = failure(site({FILE: rounds}))

    assert error.line in {2, 3}
    assert "goes round more than 100000 times" in str(error)


def test_so_has_the_output(site: Site) -> None:
    error = failure(site({FILE: "{\n{% for a in range(90000) %}" + " " * 400 + "\n{% endfor %}}"}))

    assert error.line in {2, 3}
    assert "makes more than 20000000 characters" in str(error)


def test_an_error_in_an_included_part_tells_the_part(site: Site) -> None:
    mappings = site({FILE: '{"a":\n{% include "part.j2" %}}', "part.j2": "\n\n{{ nowhere }}"})

    error = failure(mappings)

    assert (error.template, error.line) == ("part.j2", 3)


def test_a_broken_part_tells_the_part(site: Site) -> None:
    error = failure(site({FILE: '{"a":\n{% include "part.j2" %}}', "part.j2": "\n{% if %}"}))

    assert (error.template, error.line) == ("part.j2", 2)


def test_a_part_may_use_no_more_than_a_mapping(site: Site) -> None:
    error = failure(
        site({FILE: '{"a":\n{% include "part.j2" %}}', "part.j2": "\n\n{% macro x() %}{% endmacro %}"})
    )

    assert (error.template, error.line) == ("part.j2", 3)


def test_what_a_part_makes_is_reported_at_its_own_line(site: Site) -> None:
    error = failure(site({FILE: '{"a":\n{% include "part.j2" %}}', "part.j2": "\n1 2"}))

    assert (error.template, error.line) == ("part.j2", 2)


def test_a_directory_with_a_template_s_name_is_no_template(site: Site) -> None:
    mappings = site({"outbound/message.json.j2/inside": ""})

    assert mappings.overridden() == []


def test_a_file_that_cannot_be_read_is_an_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    mappings = site({FILE: "{}"})

    def denied(_: Path) -> bytes:
        raise PermissionError

    monkeypatch.setattr(Path, "read_bytes", denied)

    assert "cannot be read (PermissionError)" in str(failure(mappings))


@pytest.mark.parametrize(
    ("template", "path", "says"),
    [
        ('{"destination": {{ destination }}, "body": "b"}', "subject", "is required"),
        ('{"destination": "d", "subject": {{ "\x09" ~ subject }}, "body": "b"}', "subject", "`plain`"),
        (
            '{"destination": "d", "subject": "s", "attachments": [{{ body }}]}',
            "attachments[0]",
            "must be a UUID",
        ),
        (
            '{"destination": "d", "subject": "s", "body": "b", "extra": {{ body }}}',
            None,
            "not allowed: extra",
        ),
        ('{"destination": "d", "subject": "s", "body": "b", {{ body }}: 1}', None, "not allowed"),
    ],
)
def test_what_breaks_the_rules_is_an_error_with_its_path(
    site: Site, template: str, path: str | None, says: str
) -> None:
    error = failure(site({FILE: template}))

    assert (error.template, error.line, error.path) == (FILE, None, path)
    assert says in str(error)


def test_a_key_that_came_from_a_value_is_not_shown(site: Site) -> None:
    error = failure(site({FILE: '{"destination": "d", "subject": "s", "body": "b", {{ body }}: 1}'}))

    assert str(error) == f"{FILE}: has a key that is not allowed"

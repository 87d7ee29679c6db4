"""`Mappings.check`: what a site is told before it runs its own mappings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapter.mapping import examples
from adapter.mapping.engine import Mappings
from adapter.mapping.sources import packaged

TEXT = "outbound/text.json.j2"


def check(directory: Path, files: dict[str, str]) -> list[str]:
    """What the check of a site with these files says."""
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return [str(error) for error in Mappings(directory=directory).check()]


def test_a_site_without_files_is_fine(tmp_path: Path) -> None:
    assert check(tmp_path, {}) == []


def test_an_override_need_not_make_what_the_packaged_examples_say(tmp_path: Path) -> None:
    assert check(tmp_path, {TEXT: '{"subject": "Always the same"}'}) == []


def test_an_override_is_held_to_its_own_examples(tmp_path: Path) -> None:
    case = {
        "about": "one",
        "context": {"communication": {}, "default_subject": "x"},
        "expected": {"subject": "y"},
    }

    found = check(
        tmp_path,
        {TEXT: '{"subject": {{ default_subject }}}', "outbound/text.examples.json": json.dumps([case])},
    )

    assert found == ["outbound/text.json.j2, at subject: example “one” makes something else"]


def test_every_broken_mapping_is_reported(tmp_path: Path) -> None:
    found = check(tmp_path, {TEXT: "{% if %}", "outbound/message.json.j2": "{}"})

    assert [error.split(":")[0] for error in found] == [
        "outbound/message.json.j2, at destination",
        "outbound/text.json.j2, line 1",
    ]


def test_a_name_outside_of_the_context_is_found_in_a_branch_that_no_example_takes(tmp_path: Path) -> None:
    found = check(tmp_path, {TEXT: "{% if false %}{{ comunication }}{% endif %}{}"})

    assert found == ["outbound/text.json.j2: comunication is not in its context"]


def test_a_file_that_overrides_nothing_is_reported(tmp_path: Path) -> None:
    found = check(tmp_path, {"outbound/mesage.json.j2": "{}", "outbound/part.j2": ""})

    assert found == [
        (
            "outbound/mesage.json.j2: overrides nothing; there are inbound/communication, "
            "inbound/documentreference, inbound/task, outbound/document, outbound/message, outbound/text"
        )
    ]


@pytest.mark.parametrize(
    "text", ["{", "3", "[3]", '[{"about": ""}]', '[{"about": "", "context": 3, "expected": {}}]']
)
def test_examples_of_the_wrong_form_are_reported(tmp_path: Path, text: str) -> None:
    found = check(tmp_path, {"outbound/text.examples.json": text})

    assert len(found) == 1
    assert found[0].startswith("outbound/text.examples.json: is not a list of objects")


def test_a_mapping_without_examples_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "SUFFIX", ".nowhere.json")

    assert "outbound/text.nowhere.json: is missing" in check(tmp_path, {})


@pytest.mark.parametrize(
    ("one", "other", "path"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "a.b[1]"),
        ({"a": [1]}, {"a": [1, 2]}, "a"),
        ({"a": 1}, {"a": 1, "b": 2}, "b"),
        ({"a": 1, "b": 2}, {"a": 1}, "b"),
        ({"a": {"b": 1}}, {"a": "b"}, "a"),
    ],
)
def test_a_difference_is_found_by_its_path(one: object, other: object, path: str | None) -> None:
    assert examples.difference(one, other) == path


def test_a_wheel_has_its_mappings_within_the_package(tmp_path: Path) -> None:
    package = tmp_path / "adapter"
    package.mkdir()

    assert packaged(package) == tmp_path / "mappings"
    (package / "_mappings").mkdir()
    assert packaged(package) == package / "_mappings"


def test_the_worked_example_of_the_readme_works(tmp_path: Path) -> None:
    readme = (packaged(Path(examples.__file__).parents[1]) / "README.md").read_text()
    section = readme.split("## A worked example", 1)[1]
    template = section.split("```jinja\n", 1)[1].split("```", 1)[0]
    communication = json.loads(section.split("From `", 1)[1].split("` it makes", 1)[0])
    expected = json.loads(section.split("```json\n", 1)[1].split("```", 1)[0])

    assert check(tmp_path, {TEXT: template}) == []
    made = Mappings(directory=tmp_path).render(
        "outbound/text", communication=communication, default_subject=None
    )
    assert made == expected

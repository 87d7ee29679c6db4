from __future__ import annotations

import json
import re

import pytest

from adapter.domain import canonical
from adapter.domain.canonical import CANONICAL
from adapter.domain.inbox import chosen
from adapter.domain.marker import Marker
from tests.architecture.documentation import README, SECTIONS, section


@pytest.mark.parametrize("name", SECTIONS)
def test_the_readme_says_what_the_code_says(name: str) -> None:
    written = section(README.read_text("utf-8"), name)

    assert written == SECTIONS[name](), "run: python -m tests.architecture.documentation"


def test_the_example_in_the_readme_is_an_outbound_communication() -> None:
    block = re.search(r"```json\n(.*?)```", README.read_text("utf-8"), re.DOTALL)

    assert block is not None
    communication = json.loads(block[1])
    assert Marker().on(communication)
    assert communication["status"] == "preparation"


def test_every_url_of_our_own_in_the_readme_exists_in_the_code() -> None:
    named = set(re.findall(rf"{re.escape(CANONICAL)}/[A-Za-z/-]+", README.read_text("utf-8")))

    assert named <= {value for value in vars(canonical).values() if isinstance(value, str)}


def test_the_answer_in_the_readme_chooses_a_patient() -> None:
    blocks = re.findall(r"```json\n(.*?)```", README.read_text("utf-8"), re.DOTALL)

    assert chosen(json.loads(blocks[1])) == [{"reference": "Patient/robin-maple"}]


def test_every_row_of_what_happens_when_names_tests_that_exist() -> None:
    text = README.read_text("utf-8").partition("## What happens when")[2].partition("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    named = [re.findall(r"`([\w/]+\.py)::(test_\w+)`", row) for row in rows]

    assert len(rows) > 20
    assert all(named), "a row names no test"
    missing = [f"{file}::{test}" for tests in named for file, test in tests if not _has_test(file, test)]
    assert missing == []


def _has_test(file: str, test: str) -> bool:
    path = README.parent / "tests" / file
    return (
        path.is_file()
        and re.search(rf"^(async )?def {test}\(", path.read_text("utf-8"), re.MULTILINE) is not None
    )

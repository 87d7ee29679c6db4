from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "adapter").rglob("*.py"))
MOST_LINES = 400
MOST_FUNCTION_LINES = 60

KNOWN_AT_THE_TOP = {
    ".ci", ".dockerignore", ".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "adapter", "docker",
    "fixtures", "mappings", "pyproject.toml", "requirements-dev.lock", "requirements.lock", "tests",
}  # fmt: skip


def _tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def _functions() -> Iterator[tuple[str, int]]:
    for module in MODULES:
        if "migrations" in module.parts:
            continue  # a migration is one list of statements
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module.relative_to(ROOT)}:{node.name}", (node.end_lineno or 0) - node.lineno + 1


def test_no_module_is_longer_than_a_person_reads() -> None:
    long = {
        str(module.relative_to(ROOT)): lines
        for module in MODULES
        if (lines := len(module.read_text("utf-8").splitlines())) > MOST_LINES
    }

    assert long == {}


def test_no_function_is_longer_than_a_screen() -> None:
    assert {name: lines for name, lines in _functions() if lines > MOST_FUNCTION_LINES} == {}


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(module.relative_to(ROOT))
        for module in MODULES
        if module.read_text("utf-8").strip() and not ast.get_docstring(ast.parse(module.read_text("utf-8")))
    ]

    assert silent == []


def test_the_top_level_is_what_the_design_says() -> None:
    assert {name.partition("/")[0] for name in _tracked()} == KNOWN_AT_THE_TOP


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_locks_pin_everything_and_name_no_index(lock: str) -> None:
    lines = [
        line
        for line in (ROOT / lock).read_text("utf-8").splitlines()
        if line and not line.startswith((" ", "#"))
    ]

    assert lines
    assert [line for line in lines if not re.match(r"[a-z0-9][a-z0-9._-]*(\[[a-z,]+\])?==[0-9]", line)] == []

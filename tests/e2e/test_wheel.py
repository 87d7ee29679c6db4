"""The wheel, built and installed with the lock into an environment that has nothing else, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from adapter.config import PREFIX

ROOT = Path(__file__).resolve().parents[2]
UNREACHABLE = re.compile(
    r"error sending request|failed to fetch|dns error|timed out|connection", re.IGNORECASE
)


def _environment() -> dict[str, str]:
    mine = {"PYTHONPATH", "VIRTUAL_ENV", "COVERAGE_PROCESS_START"}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in mine and not name.upper().startswith((PREFIX, "COV_CORE"))
    }


def _from_registry(*command: str | Path, seconds: float = 300.0) -> None:
    """Runs what needs the package registry; without one there is nothing to test, except where that may not be."""
    done = subprocess.run(
        command, cwd=ROOT, env=_environment(), timeout=seconds, check=False, capture_output=True, text=True
    )
    nothing_may_be_missing = os.environ.get("CI") or os.environ.get("ADAPTER_TESTS_REQUIRE")
    if done.returncode and not nothing_may_be_missing and UNREACHABLE.search(done.stderr):
        # A machine without a network can build no wheel, and the rest of the suite needs none. CI never comes here.
        pytest.skip(f"the package registry cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    _from_registry(_uv(), "build", "--quiet", "--wheel", "--out-dir", folder, ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command as pip installs it: the wheel and the lock, nothing else."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run(
        [_uv(), "venv", "--quiet", "--python", sys.executable, environment],
        env=_environment(),
        check=True,
        timeout=60,
    )
    python = environment / "bin" / "python"
    install = (_uv(), "pip", "install", "--quiet", "--python", python)
    _from_registry(*install, "--requirement", ROOT / "requirements.lock")
    _from_registry(*install, "--no-deps", wheel)
    _from_registry(_uv(), "pip", "check", "--quiet", "--python", python)
    return environment / "bin" / "metriport-adapter"


def _uv() -> Path:
    return Path(sys.executable).with_name("uv")


def _run(command: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [command, *arguments],
        cwd=folder,
        env=_environment(),
        timeout=150,
        check=False,
        capture_output=True,
        text=True,
    )


def test_it_carries_the_mappings_the_migrations_and_the_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())

    mappings = {path.relative_to(ROOT / "mappings") for path in (ROOT / "mappings").rglob("*.j*")}
    assert {f"adapter/_mappings/{mapping}" for mapping in mappings} <= names
    assert {"adapter/py.typed", "adapter/ledger/migrations/versions/first.py"} <= names
    assert not [name for name in names if name.startswith("tests") or ".sqlite" in name]


def test_an_installed_command_prints_its_settings(command: Path, tmp_path: Path) -> None:
    done = _run(command, "config", "example", folder=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert tomllib.loads(done.stdout).keys() >= {"fhir", "metriport", "ledger"}


def test_an_installed_command_runs_the_demo_in_an_empty_folder(command: Path, tmp_path: Path) -> None:
    done = _run(command, "demo", "--once", folder=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_installed_command_checks_its_mappings(command: Path, tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    settings = {
        "ADAPTER_FHIR__BASE_URL": f"{nowhere}/fhir",
        "ADAPTER_METRIPORT__BASE_URL": nowhere,
        "ADAPTER_METRIPORT__API_KEY": "invented",
    }
    done = subprocess.run(
        [command, "doctor", "--json"],
        cwd=tmp_path,
        env=_environment() | settings,
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1, done.stderr
    assert "All render their example. The site's own: none." in done.stdout

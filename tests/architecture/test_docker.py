"""What can be checked of the container files where no Docker daemon runs: their text, and that they agree."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from adapter.config import PREFIX, fields

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
HAPI_VERSION = "8.8.0"


def _serve() -> Any:
    spec = importlib.util.spec_from_file_location("serve", DOCKER / "hapi" / "serve.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))
    found: dict[str, Any] = loaded["services"]
    return found


def test_every_hapi_is_of_one_version() -> None:
    pom = (DOCKER / "hapi" / "pom.xml").read_text("utf-8")
    compose = (DOCKER / "compose.yaml").read_text("utf-8")
    image = _serve().IMAGE

    assert f"<hapi.version>{HAPI_VERSION}</hapi.version>" in pom
    assert f":v{HAPI_VERSION}-" in image
    assert f"image: {image}\n" in compose


def test_compose_sets_hapi_as_the_tests_do() -> None:
    compose = (DOCKER / "compose.yaml").read_text("utf-8")

    settings = dict(re.findall(r"- (hapi\.fhir\.[\w.]+)=(\S+)", compose))

    assert settings == _serve().SETTINGS["defaults"]


def test_each_setting_of_hapi_has_its_reason() -> None:
    lines = (DOCKER / "compose.yaml").read_text("utf-8").splitlines()
    settings = [number for number, line in enumerate(lines) if re.match(r"\s+- (hapi|spring)\.", line)]
    blocks = [number for number in settings if number - 1 not in settings]

    assert [lines[number] for number in blocks if not lines[number - 1].strip().startswith("#")] == []


def test_the_settings_of_the_adapter_exist() -> None:
    known = {f"{PREFIX}{group}__{name}".upper() for group, name, _ in fields()}
    text = "".join((DOCKER / name).read_text("utf-8") for name in ("compose.yaml", "Dockerfile", "README.md"))

    used = {name.removesuffix("_FILE") for name in re.findall(r"ADAPTER_[A-Z]+__[A-Z_]+", text)}

    assert used
    assert used <= known


def test_compose_starts_the_four_neighbours(services: dict[str, Any]) -> None:
    assert services.keys() == {"hapi", "postgres", "adapter", "metriport"}
    assert all(one["restart"] == "unless-stopped" for one in services.values())
    assert "healthcheck" in services["postgres"]
    assert services["metriport"]["command"][:2] == ["simulate", "metriport"]
    assert services["adapter"]["build"]["dockerfile"] == "docker/Dockerfile"


def test_ports_are_open_to_this_machine_only(services: dict[str, Any]) -> None:
    published = [port for one in services.values() for port in one.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_image_is_not_run_by_root_and_says_how_it_is() -> None:
    text = (DOCKER / "Dockerfile").read_text("utf-8")
    last_stage = text.rpartition("FROM ")[2]

    assert re.search(r"^USER adapter$", last_stage, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", last_stage, re.MULTILINE)
    assert "/health/live" in last_stage


def test_what_the_image_copies_is_in_its_context() -> None:
    text = (DOCKER / "Dockerfile").read_text("utf-8")
    copied = {
        name.strip("./")
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
        for name in line.split()
    }
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    }

    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_the_ci_script_is_sound_shell() -> None:
    assert subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=False).returncode == 0

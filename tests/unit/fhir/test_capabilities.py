"""What a server says of itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.fhir import capabilities
from adapter.fhir.capabilities import Capabilities


def statement(**elements: Any) -> dict[str, Any]:
    return {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", **elements}


def of_communication(**elements: Any) -> Capabilities:
    entry = {"type": "Communication", **elements}
    return capabilities.read(statement(rest=[{"mode": "server", "resource": [entry]}]))


def test_version_and_software_are_told() -> None:
    read = capabilities.read(statement(software={"name": "Some Server", "version": "1.2"}))

    assert (read.fhir_version, read.software, read.is_r4) == ("4.0.1", "Some Server 1.2", True)


@pytest.mark.parametrize("version", ["4.3.0", "5.0.0", "3.0.2", None, 4])
def test_other_releases_are_not_r4(version: object) -> None:
    assert not capabilities.read(statement(fhirVersion=version)).is_r4


@pytest.mark.parametrize(
    ("versioning", "versioned"),
    [("versioned-update", True), ("versioned", False), ("no-version", False), (None, None)],
)
def test_versioned_update_is_only_what_is_called_so(
    versioning: str | None, *, versioned: bool | None
) -> None:
    assert of_communication(versioning=versioning).of("Communication").versioned_update is versioned


def test_search_parameters_are_those_stated() -> None:
    read = of_communication(searchParam=[{"name": "medium"}, {"name": 7}, "x"])

    assert read.searches("Communication", "medium") is True
    assert read.searches("Communication", "category") is False
    assert read.searches("Task", "code") is None


def test_history_is_what_is_stated() -> None:
    assert of_communication(interaction=[{"code": "history-instance"}]).of("Communication").history is True
    assert of_communication(interaction=[{"code": "read"}]).of("Communication").history is False
    assert of_communication().of("Communication").history is None


def test_creating_is_told_apart_from_silence() -> None:
    stated = of_communication(updateCreate=False, conditionalCreate=True).of("Communication")
    silent = of_communication(updateCreate="yes").of("Communication")

    assert (stated.update_create, stated.conditional_create) == (False, True)
    assert (silent.update_create, silent.conditional_create) == (None, None)


@pytest.mark.parametrize(("code", "transaction"), [("transaction", True), ("batch", False)])
def test_transactions_are_of_the_whole_system(code: str, *, transaction: bool) -> None:
    rest = [{"mode": "client"}, {"mode": "server", "interaction": [{"code": code}]}]

    assert capabilities.read(statement(rest=rest)).transaction is transaction


_names = st.sampled_from(
    [
        "rest",
        "resource",
        "mode",
        "type",
        "interaction",
        "code",
        "searchParam",
        "name",
        "software",
        "versioning",
    ]
)


@given(
    st.recursive(
        st.none() | st.text() | st.booleans(), lambda inner: st.lists(inner) | st.dictionaries(_names, inner)
    )
)
def test_any_statement_is_read(value: Any) -> None:
    read = capabilities.read({"rest": value, "software": value, "fhirVersion": value})

    assert isinstance(read, Capabilities)

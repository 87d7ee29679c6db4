"""What a notification means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import ConfigError, Unverified
from adapter.fhir.doorbell import Ring, ring

SECRET = "a-secret-of-the-doorbell"
HEADERS = {"authorization": f"Bearer {SECRET}"}


def test_without_a_payload_it_means_everything() -> None:
    assert ring("/doorbell", HEADERS, secret=SECRET) == Ring()


@pytest.mark.parametrize(
    "path", ["/doorbell/Communication/a-1.B", "/Communication/a-1.B", "/x/doorbell/Communication/a-1.B/"]
)
def test_with_a_payload_it_names_its_communication(path: str) -> None:
    assert ring(path, HEADERS, secret=SECRET) == Ring(communication="a-1.B")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/doorbell/",
        "/doorbell/Communication",
        "/doorbell/Communication/..",
        "/doorbell/Communication/a%20b",
        "/doorbell/Communication/" + "x" * 65,
        "/doorbell/Communication/1/_history/2",
        "/doorbell/Task/1",
    ],
)
def test_what_names_no_communication_means_everything(path: str) -> None:
    assert ring(path, HEADERS, secret=SECRET) == Ring()


@pytest.mark.parametrize("name", ["Authorization", "AUTHORIZATION", "authorization"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_header_name_and_scheme_are_read_in_any_case(name: str, scheme: str) -> None:
    assert ring("/doorbell", {"x": "y", name: f" {scheme} {SECRET} "}, secret=SECRET) == Ring()


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        SECRET,
        f"Basic {SECRET}",
        f"Bearer {SECRET}x",
        "Bearer ü",
        "Bearer \ud800",
        "Bearer \xff",
    ],
)
def test_a_wrong_secret_is_turned_away(value: str) -> None:
    with pytest.raises(Unverified, match="Run subscribe") as caught:
        ring("/doorbell/Communication/1", {"Authorization": value}, secret=SECRET)

    assert SECRET not in str(caught.value)


def test_a_missing_header_is_turned_away() -> None:
    with pytest.raises(Unverified):
        ring("/doorbell", {}, secret=SECRET)


def test_without_a_secret_nobody_can_ring() -> None:
    with pytest.raises(ConfigError, match=r"watch\.doorbell_secret"):
        ring("/doorbell", {"Authorization": "Bearer "}, secret="")


@given(st.text(), st.text())
def test_anything_rings_or_is_turned_away(path: str, value: str) -> None:
    try:
        rung = ring(path, {"Authorization": value}, secret=SECRET)
    except Unverified:
        assert SECRET not in value
    else:
        assert value.strip().endswith(SECRET)
        assert rung.communication is None or rung.communication in path

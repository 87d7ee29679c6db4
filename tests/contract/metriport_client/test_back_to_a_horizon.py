"""Reading lists of unknown order back to a time: never too short (protocol §8)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from adapter.errors import Temporary
from adapter.ports.mail import Direction
from tests.contract.metriport_client.clients import BASE, NOW, answering

SINCE = NOW - timedelta(days=1)
HOURS = [[1, 2], [20, 26], [30, 40], [50, 60], [70]]  # how old each row is, page by page

Json = dict[str, Any]


def row(hours: float | None, name: str) -> Json:
    sent = {"sentAt": (NOW - timedelta(hours=hours)).isoformat()} if hours is not None else {}
    return {"id": name, "direction": "inbound", "status": "completed", "subject": "x", **sent}


def pages(hours: list[list[Any]]) -> list[Json]:
    """The list in pages; a number names the row, too."""
    return [
        {
            "meta": {"nextPage": f"{BASE}/medical/v1/message?page={number + 1}"}
            if number + 1 < len(hours)
            else {},
            "messages": [row(one, f"m{one}") for one in page],
        }
        for number, page in enumerate(hours)
    ]


def read(answers: list[Json]) -> tuple[list[str], list[httpx.Request]]:
    """The ids as they were listed, and what was asked for that."""
    asked: list[httpx.Request] = []

    def say(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=answers[len(asked) - 1])

    async def listed() -> list[str]:
        found = answering(say).list_messages(Direction.INBOUND, since=SINCE)
        return [one.message.id async for one in found]

    return asyncio.run(listed()), asked


def test_newest_first_it_ends_one_page_behind_the_horizon() -> None:
    found, asked = read(pages(HOURS))

    assert found == ["m1", "m2", "m20", "m26", "m30", "m40"]
    assert asked[0].url.params["direction"] == "inbound"


@pytest.mark.parametrize(
    "hours",
    [
        [[1, 2], [26, 20], [30, 40], [50, 60], [0.5]],
        [[1, 2], [2, 26], [30, 40], [50, 60], [0.5]],
        [[1, 2], [20, None], [30, 40], [50, 60], [0.5]],
        [[1, 2], [20, 26], [20, 40], [50, 60], [0.5]],
        [[70], [60, 50], [40, 30], [26, 20], [2, 0.5]],
    ],
    ids=["two the wrong way round", "repeated", "without a time", "moved behind", "oldest first"],
)
def test_in_any_other_order_it_is_read_to_its_end(hours: list[list[Any]]) -> None:
    found, asked = read(pages(hours))

    assert "m0.5" in found
    assert len(asked) == len(hours)


def test_an_empty_page_is_not_the_end() -> None:
    found, _ = read(pages([[1], [], [2]]))

    assert found == ["m1", "m2"]


@pytest.mark.parametrize("broken", [{"messages": None}, {"items": []}, []])
def test_what_is_no_list_is_not_taken_for_an_empty_one(broken: Any) -> None:
    with pytest.raises(Temporary, match="no list"):
        read([broken])


@pytest.mark.parametrize(
    "link",
    [
        "https://elsewhere.test/medical/v1/message?page=2",
        f"{BASE}/medical/v1/message?direction=inbound&count=500",
        7,
    ],
    ids=["another host", "read before", "no link"],
)
def test_a_list_that_goes_on_and_cannot_be_followed_says_so_after_its_rows(link: object) -> None:
    answer = {"meta": {"nextPage": link}, "messages": [row(1, "m1")]}
    found: list[str] = []

    async def listed() -> None:
        rows = answering(lambda _: httpx.Response(200, json=answer)).list_messages(
            Direction.INBOUND, since=SINCE
        )
        found.append((await anext(rows)).message.id)
        await anext(rows)

    with pytest.raises(Temporary, match="after 1 pages it"):
        asyncio.run(listed())

    assert found == ["m1"]


def test_rows_without_an_id_are_left_out() -> None:
    found, _ = read([{"meta": {}, "messages": [{"subject": "x"}, "?", row(1, "m1")]}])

    assert found == ["m1"]


def test_calls_that_nobody_took_are_those_that_failed() -> None:
    def call(name: str, hours: float, **stated: str) -> Json:
        created = (NOW - timedelta(hours=hours)).isoformat()
        return {"id": name, "type": "message.received", "createdAt": created, **stated}

    rows = [
        call("taken", 1, status="success"),
        call("failed", 2, status="failure"),
        call("of another kind", 3, status="failure", type="message.status"),
        call("unsaid", 4),
        {"id": "bare", "status": "FAILED"},
        call("old", 30, status="failure"),
        call("behind", 2, status="failure"),
    ]
    say = httpx.Response(200, json={"meta": {}, "requests": rows})

    async def missed() -> list[str]:
        return [one.id async for one in answering(lambda _: say).calls(since=SINCE) if one.missed]

    assert asyncio.run(missed()) == ["failed", "bare"]

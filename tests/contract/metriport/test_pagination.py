"""Contract §1 and §2: the list of messages, filters and cursors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.metriport.account import (
    BASE,
    CHRIS,
    DIALECTS,
    JANE,
    OID,
    Account,
    account,
    refused,
)


def walk(clinic: Account, path: str, key: str = "messages", link: str = "nextPage") -> list[dict[str, Any]]:
    pages = []
    while path:
        pages.append(clinic.ask("GET", path).json)
        path = pages[-1]["meta"].get(link, "").removeprefix(BASE)
    return [one for page in pages for one in page[key]]


@DIALECTS
def test_newest_first_with_links_at_both_ends(dialect: str) -> None:
    clinic = account(dialect=dialect)
    ids = [clinic.sent() for _ in range(5)][::-1]

    first = clinic.ask("GET", "message?count=2").json
    second = clinic.ask("GET", first["meta"]["nextPage"].removeprefix(BASE)).json
    last = clinic.ask("GET", second["meta"]["nextPage"].removeprefix(BASE)).json
    back = clinic.ask("GET", last["meta"]["prevPage"].removeprefix(BASE)).json

    assert [one["id"] for page in (first, second, last) for one in page["messages"]] == ids
    assert first["meta"] == {
        "itemsOnPage": 2,
        "itemsInTotal": 5,
        "nextPage": f"{BASE}/medical/v1/message?count=2&fromItem={ids[2]}",
    }
    assert set(second["meta"]) == {"itemsOnPage", "nextPage", "prevPage"}
    assert set(last["meta"]) == {"itemsOnPage", "prevPage"}
    assert back["messages"] == second["messages"]


def test_fifty_a_page_unless_said_otherwise_and_500_at_most() -> None:
    clinic = account()
    for _ in range(501):
        clinic.sent()

    assert clinic.ask("GET", "message").json["meta"]["itemsOnPage"] == 50
    assert clinic.ask("GET", "message?count=500").json["meta"]["itemsOnPage"] == 500
    assert len(walk(clinic, "message?count=499")) == 501


def test_a_count_of_nothing_tells_the_total_only() -> None:
    clinic = account()
    clinic.sent()

    page = clinic.ask("GET", "message?count=0").json

    assert page == {"meta": {"itemsOnPage": 0, "itemsInTotal": 1}, "messages": []}


@pytest.mark.parametrize("count", ["501", "-1", "1.5", "many", "", "\u00b2", "9" * 5000])
def test_a_count_that_is_none_is_refused(count: str) -> None:
    assert "count" in refused(account().ask("GET", f"message?count={count}"))


def test_from_and_to_cannot_stand_together() -> None:
    assert "not both" in refused(account().ask("GET", "message?fromItem=a&toItem=b"))


def test_what_comes_in_between_moves_no_page() -> None:
    clinic = account()
    ids = [clinic.sent() for _ in range(6)][::-1]
    first = clinic.ask("GET", "message?count=3").json

    clinic.passes(1)
    newer = [clinic.sent() for _ in range(4)][::-1]
    rest = walk(clinic, first["meta"]["nextPage"].removeprefix(BASE))

    assert [one["id"] for one in (*first["messages"], *rest)] == ids
    back = clinic.ask("GET", f"message?count=3&toItem={newer[-1]}").json
    assert [one["id"] for one in back["messages"]] == newer[1:]


def test_a_cursor_stays_a_place_when_its_item_leaves_the_list() -> None:
    clinic = account()
    ids = [clinic.sent() for _ in range(4)][::-1]
    following = clinic.ask("GET", "message?count=2&status=processing").json["meta"]["nextPage"]
    clinic.world.complete(ids[2], clinic.now)

    page = clinic.ask("GET", following.removeprefix(BASE)).json
    before = clinic.ask("GET", f"message?status=processing&toItem={ids[2]}").json

    assert [one["id"] for one in page["messages"]] == ids[3:]
    assert [one["id"] for one in before["messages"]] == ids[:2]


def test_a_page_before_a_cursor_never_goes_beyond_it() -> None:
    clinic = account()
    ids = [clinic.sent() for _ in range(4)][::-1]

    page = clinic.ask("GET", f"message?count=3&toItem={ids[1]}").json

    assert [one["id"] for one in page["messages"]] == ids[:2]


def test_links_keep_the_filters_as_the_sdk_writes_them() -> None:
    clinic = account()
    for _ in range(2):
        clinic.sent(destination="a+b c@d.example".replace(" ", ""))

    page = clinic.ask("GET", f"message?destination=a%2Bbc%40d.example&count=1&patientId={JANE}").json

    assert "destination=a%2Bbc%40d.example&count=1" in page["meta"]["nextPage"]
    assert len(walk(clinic, page["meta"]["nextPage"].removeprefix(BASE))) == 1


@DIALECTS
def test_filters(dialect: str) -> None:
    clinic = account(dialect=dialect)
    jane, chris = clinic.sent(JANE), clinic.sent(CHRIS, destination=OID)
    clinic.world.complete(chris, clinic.now)
    reply = clinic.world.receive(clinic.now, subject="Reply", body="Seen.").id

    def found(query: str) -> set[str]:
        return {one["id"] for one in clinic.ask("GET", f"message?{query}").json["messages"]}

    assert found("") == {jane, chris, reply}
    assert found("direction=outbound") == {jane, chris}
    assert found("direction=inbound") == {reply}
    assert found(f"patientId={CHRIS}") == {chris}
    assert found(f"destination={OID}") == {chris}
    assert found("status=processing") == {jane}
    assert found("status=failed") == set()


@pytest.mark.parametrize("query", ["direction=sideways", "status=done"])
def test_filters_outside_their_list_are_refused(query: str) -> None:
    refused(account().ask("GET", f"message?{query}"))


@DIALECTS
def test_an_inbound_message_may_have_no_patient(dialect: str) -> None:
    clinic = account(dialect=dialect)
    clinic.world.receive(clinic.now, subject="Hello", **{"from": "a@b.example"})

    message = clinic.ask("GET", "message").json["messages"][0]

    assert "patientId" not in message
    assert "subject" not in message or message["subject"] == "Hello"
    if dialect == "docs":
        assert message["sender"] == {"display": "a@b.example"}
        assert "payload" not in message

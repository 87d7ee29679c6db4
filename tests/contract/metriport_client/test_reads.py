"""Asking Metriport: statuses, lists, the account; and where the key goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from adapter.domain.message import MessageState
from adapter.errors import ConfigError, Rejected, Temporary
from adapter.metriport.api import MOST_PAGES
from adapter.metriport.client import Account
from adapter.ports.metriport import Listing
from tests.contract.metriport_client.clients import BASE, KEY, NOW, PATIENT, answering, client
from tests.contract.metriport_client.loopback import answer, reset, saying, server

ID = "0190b1c2-0000-7000-8000-000000000001"
NOT_FOUND = {"status": 404, "name": "NOT_FOUND", "title": "NotFoundError", "detail": "No message."}

Answer = Callable[[httpx.Request], httpx.Response]


def always_answering(status: int, body: Any = None, **headers: str) -> Answer:
    return lambda _request: httpx.Response(status, json=body, headers=headers)


def listing(over: Answer) -> Listing:
    return asyncio.run(answering(over).outbound(PATIENT))


def test_one_message_is_asked_for_by_its_id_with_the_key() -> None:
    asked: list[httpx.Request] = []

    def say(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"id": ID.upper(), "status": "completed"})

    found = asyncio.run(answering(say).message(ID))

    assert found is not None
    assert found.state is MessageState.COMPLETED
    assert str(asked[0].url) == f"{BASE}/medical/v1/message/{ID}"
    assert asked[0].headers["x-api-key"] == KEY


def test_a_patient_of_whom_no_name_is_told_is_nobody() -> None:
    def told(**demographics: Any) -> Any:
        return asyncio.run(answering(always_answering(200, {"id": PATIENT, **demographics})).person(PATIENT))

    assert told(dob="1980-02-01", firstName=" ") is None
    assert told(lastName="Maple")["name"] == [{"family": "Maple", "given": []}]


def test_an_id_is_one_step_of_the_path_whatever_it_holds() -> None:
    asked: list[bytes] = []

    def say(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path)
        return httpx.Response(200, json={"id": "a/../b?c#d"})

    asyncio.run(answering(say).message("a/../b?c#d"))

    assert asked == [b"/medical/v1/message/a%2F..%2Fb%3Fc%23d"]


@pytest.mark.parametrize("message_id", ["", ".", "..", "two words", "é", "x" * 129])
def test_what_cannot_be_an_id_is_not_asked_for(message_id: str) -> None:
    found = asyncio.run(answering(always_answering(500)).message(message_id))

    assert found is None


def test_a_message_that_metriport_does_not_know_is_none() -> None:
    assert asyncio.run(answering(always_answering(404, NOT_FOUND)).message(ID)) is None


@pytest.mark.parametrize(
    ("status", "body"), [(404, {"message": "Not Found"}), (403, {"message": "Forbidden"})]
)
def test_a_refused_route_is_no_unknown_message(status: int, body: dict[str, str]) -> None:
    with pytest.raises(Rejected) as caught:
        asyncio.run(answering(always_answering(status, body)).message(ID))

    assert (caught.value.status, caught.value.issues) == (status, ())


@pytest.mark.parametrize("body", [None, {}, [], {"id": "another", "status": "completed"}])
def test_an_answer_about_something_else_is_not_believed(body: Any) -> None:
    with pytest.raises(Temporary):
        asyncio.run(answering(always_answering(200, body)).message(ID))


def test_too_many_reads_are_tried_again_when_metriport_says() -> None:
    with pytest.raises(Temporary) as caught:
        asyncio.run(answering(always_answering(429, **{"retry-after": "9"})).message(ID))

    assert caught.value.retry_at == NOW + timedelta(seconds=9)
    assert caught.value.applied is False


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x"), OSError("x")]
)
def test_a_failure_of_the_network_is_temporary_and_not_applied(error: Exception) -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(Temporary) as caught:
        asyncio.run(answering(fail).message(ID))

    assert caught.value.applied is False
    assert type(error).__name__ in str(caught.value)


def test_a_connection_broken_off_is_temporary_and_asked_once() -> None:
    async def run() -> int:
        async with server(reset) as heard, client(heard.base_url) as metriport:
            with pytest.raises(Temporary):
                await metriport.message(ID)
            return len(heard.requests)

    assert asyncio.run(run()) == 1


def test_reads_share_a_connection() -> None:
    body = json.dumps({"id": ID, "status": "processing"}).encode()

    async def run() -> tuple[int, int]:
        async with (
            server(saying(answer(200, body)), keep_open=True) as heard,
            client(heard.base_url) as metriport,
        ):
            await metriport.message(ID)
            await metriport.message(ID)
            return heard.connections, len(heard.requests)

    assert asyncio.run(run()) == (1, 2)


def page(*ids: str, **meta: Any) -> httpx.Response:
    return httpx.Response(200, json={"meta": meta, "messages": [{"id": one} for one in ids]})


def test_a_list_is_read_page_after_page_to_its_end() -> None:
    asked: list[str] = []

    def say(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        if "fromItem" in request.url.params:
            return page("2")
        return page("1", itemsInTotal=2, nextPage=f"{BASE}/medical/v1/message?fromItem=2&count=500")

    found = listing(say)

    assert [one.id for one in found.messages] == ["1", "2"]
    assert (found.whole, found.pages) == (True, 2)
    assert asked == [
        f"{BASE}/medical/v1/message?direction=outbound&patientId={PATIENT}&count=500",
        f"{BASE}/medical/v1/message?fromItem=2&count=500",
    ]


@pytest.mark.parametrize(
    "link",
    [
        "/medical/v1/message?fromItem=2",
        f"{BASE}:443/medical/v1/message?fromItem=2",
        f"{BASE.upper()}/?fromItem=2",
    ],
)
def test_a_link_on_the_same_origin_is_followed(link: str) -> None:
    found = listing(
        lambda request: page("2") if "fromItem" in request.url.params else page("1", nextPage=link)
    )

    assert (found.whole, found.pages) == (True, 2)


@pytest.mark.parametrize(
    "link",
    [
        "https://elsewhere.test/medical/v1/message?fromItem=2",
        "//elsewhere.test/medical/v1/message",
        "http://api.metriport.test/medical/v1/message",
        f"{BASE}:8443/medical/v1/message",
        f"{BASE}@elsewhere.test/",
        f"{BASE}.elsewhere.test/",
        "https://elsewhere.test\\@api.metriport.test/",
        "https://api.metriport.test:port/",
        "file:///etc/passwd",
        "https://[",
        "https://xn--/",
        "\x00",
    ],
)
def test_the_key_goes_to_no_other_origin_and_the_list_is_not_whole(link: str) -> None:
    hosts: list[str] = []

    def say(request: httpx.Request) -> httpx.Response:
        hosts.append(f"{request.url.scheme}://{request.url.netloc.decode()}")
        return page("1", nextPage=link)

    found = listing(say)

    assert set(hosts) == {BASE}
    assert found.whole is False


def test_a_redirect_is_not_followed() -> None:
    hosts: list[str] = []

    def say(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(307, headers={"location": "https://elsewhere.test/"})

    with pytest.raises(Temporary, match="redirects are not followed"):
        listing(say)

    assert hosts == ["api.metriport.test"]


def test_cookies_are_not_kept() -> None:
    async def run() -> list[httpx.Request]:
        asked: list[httpx.Request] = []

        def say(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            return httpx.Response(200, json={"id": ID}, headers={"set-cookie": "session=1"})

        metriport = answering(say)
        await metriport.message(ID)
        await metriport.message(ID)
        return asked

    assert ["cookie" in request.headers for request in asyncio.run(run())] == [False, False]


def test_a_list_that_goes_round_in_circles_ends_and_is_not_whole() -> None:
    link = f"{BASE}/medical/v1/message?fromItem=2"

    found = listing(lambda _request: page("1", nextPage=link))

    assert (found.whole, found.pages) == (False, 2)


def test_a_list_without_end_is_given_up_and_is_not_whole() -> None:
    numbers = iter(range(MOST_PAGES * 2))

    found = listing(
        lambda _request: page("1", nextPage=f"{BASE}/medical/v1/message?fromItem={next(numbers)}")
    )

    assert (found.whole, found.pages) == (False, MOST_PAGES)


@pytest.mark.parametrize("body", [None, [], {}, {"messages": 1}])
def test_what_is_no_list_is_no_empty_list(body: Any) -> None:
    with pytest.raises(Temporary, match="no list of messages"):
        listing(always_answering(200, body))


def test_a_page_larger_than_any_list_is_no_list() -> None:
    huge = b" " * 64_000_001 + b'{"meta": {}, "messages": []}'

    with pytest.raises(Temporary, match="no list of messages"):
        listing(lambda _request: httpx.Response(200, content=huge))


def test_a_failure_on_a_later_page_fails_the_whole_reading() -> None:
    link = f"{BASE}/medical/v1/message?fromItem=2"

    with pytest.raises(Temporary):
        listing(
            lambda request: (
                httpx.Response(503) if "fromItem" in request.url.params else page("1", nextPage=link)
            )
        )


def test_the_documents_of_a_patient() -> None:
    asked: list[str] = []

    def say(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json={"documents": [{"resourceType": "DocumentReference", "id": "d1"}]})

    assert asyncio.run(answering(say).listed(PATIENT)) == frozenset({"d1"})
    assert asked == [f"{BASE}/medical/v1/document?patientId={PATIENT}"]


def test_what_is_no_list_of_documents_is_temporary() -> None:
    with pytest.raises(Temporary, match="no list of documents"):
        asyncio.run(answering(always_answering(200, {})).listed(PATIENT))


@pytest.mark.parametrize(
    ("say", "account", "hint"),
    [
        (always_answering(200, {"meta": {}, "messages": []}), Account.OK, "takes the key"),
        (always_answering(403, {"message": "Forbidden"}), Account.REFUSED, "metriport.api_key"),
        (always_answering(404, {"message": "Not Found"}), Account.REFUSED, "metriport.base_url"),
        (always_answering(503), Account.UNAVAILABLE, "503"),
        (always_answering(301), Account.UNAVAILABLE, "metriport.base_url"),
        (always_answering(200, {"hello": "world"}), Account.UNAVAILABLE, "metriport.base_url"),
    ],
)
def test_the_check_says_how_the_account_stands_and_what_to_look_at(
    say: Answer, account: Account, hint: str
) -> None:
    check = asyncio.run(answering(say).check())

    assert check.account is account
    assert hint in check.sentence
    assert KEY not in check.sentence


def test_the_check_of_a_server_that_is_not_there_says_so() -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("x")

    check = asyncio.run(answering(fail).check())

    assert check.account is Account.UNAVAILABLE
    assert "no connection could be made" in check.sentence


@pytest.mark.parametrize("base", [f"{BASE}/", f"{BASE}//", BASE])
def test_a_base_with_a_slash_at_its_end_is_the_same_base(base: str) -> None:
    asked: list[str] = []

    def say(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return page()

    asyncio.run(answering(say, base_url=base).check())

    assert asked == [f"{BASE}/medical/v1/message?count=1"]


def test_a_base_may_have_a_path() -> None:
    asked: list[str] = []

    def say(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return page()

    asyncio.run(answering(say, base_url="https://gateway.test/metriport/").check())

    assert asked == ["/metriport/medical/v1/message"]


@pytest.mark.parametrize(
    "base",
    [
        "",
        "api.metriport.com",
        "ftp://api.metriport.com",
        "https://",
        "https://user:secret@api.metriport.com",
        "https://api.metriport.com?key=secret",
        "https://api.metriport.com#x",
        "https://api.metriport.com:port",
        "https://api.metriport.com:99999",
    ],
)
def test_a_base_that_is_no_server_is_a_wrong_setting(base: str) -> None:
    with pytest.raises(ConfigError, match=r"metriport\.base_url") as caught:
        client(base)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["", " ", "two words", "k\r\nx: y", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_a_wrong_setting(key: str) -> None:
    with pytest.raises(ConfigError, match=r"metriport\.api_key") as caught:
        client(api_key=key)

    assert key.strip() == "" or key not in str(caught.value)


def test_a_line_end_after_the_key_is_no_part_of_it() -> None:
    asked: list[str] = []

    def say(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["x-api-key"])
        return page()

    asyncio.run(answering(say, api_key=f"{KEY}\n").check())

    assert asked == [KEY]

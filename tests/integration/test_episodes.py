"""A neighbour's bad day: nothing is lost or doubled, no end is changed, and the log says so twice, not a hundred times."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy import event, exc

from adapter.simulators.http import Request, Response
from tests.integration.canary import Overheard, overhearing
from tests.integration.people import communication, stage
from tests.virtual.loop import run
from tests.virtual.site import ADAPTER_URL, Site, site

TEN_MINUTES: Final = 600.0
SEND = ("POST", "/medical/v1/message")

Day = Callable[[Site], Awaitable[None]]


def _day(day: Day, *, messages: int = 5, **options: Any) -> tuple[Site, Overheard]:
    """Messages, of which some are on their way and some wait, when the day begins."""

    async def scenario() -> Site:
        async with site(started=False, **options) as clinic:
            stage(clinic)
            for number in range(messages):
                clinic.write(communication(id=f"m-{number}", topic={"text": str(number)}))
            await clinic.start()
            await clinic.passes(8)
            await day(clinic)
            return clinic

    with overhearing(style="json") as heard:
        return run(scenario()), heard


def _lines(heard: Overheard, *events: str) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [json.loads(line) for line in heard.lines()]
    return [line for line in lines if not events or line["event"] in events]


def _alarms(heard: Overheard) -> list[tuple[str, str | None]]:
    """What was said louder than info."""
    loud = [line for line in _lines(heard) if line["level"] in {"warning", "error"}]
    return [(line["event"], line.get("neighbour")) for line in loud]


def _said_twice(heard: Overheard, neighbour: str) -> None:
    """The episode has a beginning and an end in the log, and nothing else there is loud."""
    assert _alarms(heard) == [("neighbour.trouble", neighbour)]
    assert [line["neighbour"] for line in _lines(heard, "neighbour.well")] == [neighbour]
    # What waits says so once, at the most, and no other line is there but those.
    quiet = [line for line in _lines(heard) if line["level"] == "info"]
    said = [(line["event"], line["communication"]) for line in quiet if "communication" in line]
    assert len(said) == len(set(said))
    others = {line["event"] for line in quiet if "communication" not in line}
    assert others <= {
        "neighbour.well",
        "doorbell.seen-to",
        "request.refused",
    }  # the start, and each call not kept


def _each_sent_once(clinic: Site, *, messages: int = 5) -> None:
    subjects = sorted(message.subject for message in clinic.metriport.messages)
    assert subjects == sorted(str(number) for number in range(messages))
    ends = clinic.fhir.resources("Communication")
    assert {one["status"] for one in ends} == {"completed"}
    for one in ends:
        statuses = [
            version["status"] for version in clinic.fhir.history("Communication", one["id"]) if version
        ]
        assert statuses == sorted(statuses, key=["preparation", "in-progress", "completed"].index)


async def _shown(clinic: Site) -> tuple[int, dict[str, str], dict[str, float]]:
    """What `/health/ready` and the metrics say of the neighbours."""
    assert clinic.adapter is not None
    over = httpx.ASGITransport(clinic.adapter.app)
    async with httpx.AsyncClient(transport=over, base_url=ADAPTER_URL) as http:
        ready, metrics = await http.get("/health/ready"), await http.get("/metrics")
    parts = {part["name"]: part["detail"] for part in ready.json()["parts"]}
    figures = {
        line.split('"')[1]: float(line.rsplit(" ", 1)[1])
        for line in metrics.text.splitlines()
        if line.startswith("adapter_neighbour_trouble_seconds{")
    }
    return ready.status_code, parts, figures


def _asked(clinic: Site, neighbour: str, *, since: datetime, seconds: float) -> list[float]:
    """When a neighbour that is away was called, in seconds."""
    until = since + timedelta(seconds=seconds)
    lines = [line for line in clinic._lines if line.world is getattr(clinic, neighbour)]
    return sorted((at - since).total_seconds() for line in lines for at in line.refused if since < at < until)


@pytest.mark.parametrize("neighbour", ["fhir", "metriport"])
def test_ten_minutes_without_a_neighbour(neighbour: str) -> None:
    seen: list[Any] = []

    async def day(clinic: Site) -> None:
        away = {f"{'fhir' if neighbour == 'fhir' else 'metriport'}_server": True}
        began = clinic.clock.now()
        clinic.cut(**away)
        await clinic.passes(TEN_MINUTES - 1)
        seen.append(await _shown(clinic))
        await clinic.passes(1)
        seen.append(_asked(clinic, neighbour, since=began, seconds=TEN_MINUTES))
        clinic.cut()
        await clinic.passes(600)
        seen.append(await _shown(clinic))

    clinic, heard = _day(day)

    (code, parts, figures), calls, (_, well, none) = seen
    _each_sent_once(clinic)
    _said_twice(heard, neighbour)
    assert code == 200  # what comes in is kept meanwhile
    assert parts[f"{neighbour}.calls"].startswith("trouble for ")
    assert figures[neighbour] > TEN_MINUTES - 60
    assert (well[f"{neighbour}.calls"], none[neighbour]) == ("well", 0.0)
    assert len(calls) < 120
    assert len([at for at in calls if at > 480]) < len([at for at in calls if at < 120])


def test_calls_to_one_who_is_away_are_further_apart_each_time_and_not_in_step() -> None:
    calls: list[list[float]] = []

    async def day(clinic: Site) -> None:
        began = clinic.clock.now()
        clinic.cut(metriport_server=True)
        await clinic.passes(TEN_MINUTES)
        calls.append(_asked(clinic, "metriport", since=began, seconds=TEN_MINUTES))

    _day(day, messages=3, auto_complete_seconds=None)
    _day(day, messages=3, auto_complete_seconds=None)

    assert calls[0] != calls[1]
    for asked in calls:
        first, second, third = (sum(begin <= at < begin + 200 for at in asked) for begin in (0, 200, 400))
        assert first > second >= third > 0


@pytest.mark.parametrize(
    ("fault", "neighbour"),
    [
        ("409", None),
        ("412", None),
        ("429", "fhir"),
        ("500", "fhir"),
        ("503", "fhir"),
        ("apply-then-503", "fhir"),
    ],
)
def test_a_burst_of_errors_from_the_fhir_server(fault: str, neighbour: str | None) -> None:
    async def day(clinic: Site) -> None:
        clinic.fhir.add_fault("PUT", "/Communication/", fault, times=9)
        if neighbour:
            clinic.fhir.add_fault("*", "/Communication", fault.removeprefix("apply-then-"), times=12)
        await clinic.passes(600)

    clinic, heard = _day(day)

    _each_sent_once(clinic)
    if neighbour:
        _said_twice(heard, neighbour)
    else:
        assert _alarms(heard) == []


@pytest.mark.parametrize("fault", ["429", "429:40", "503", "500", "drop", "slow:25"])
def test_a_burst_of_errors_from_metriport(fault: str) -> None:
    async def day(clinic: Site) -> None:
        clinic.metriport.add_fault("*", "/medical", fault, times=6)
        await clinic.passes(1000)

    clinic, heard = _day(day)

    _each_sent_once(clinic)
    assert set(_alarms(heard)) <= {("neighbour.trouble", "metriport")}


def test_while_metriport_fails_few_come_into_doubt() -> None:
    in_doubt: list[int] = []

    async def day(clinic: Site) -> None:
        clinic.metriport.add_fault("*", "/", "503", times=10_000)  # whatever it is asked
        await clinic.passes(TEN_MINUTES)
        in_doubt.append(sum("outcome-unknown" in str(one) for one in clinic.fhir.resources("Communication")))
        clinic.metriport.clear_faults()
        await clinic.passes(1500)

    clinic, heard = _day(day, messages=30)

    _each_sent_once(clinic, messages=30)
    _said_twice(heard, "metriport")
    assert in_doubt[0] <= 10


@pytest.mark.parametrize(("asked", "at_least"), [("90", 90.0), ("86400", 3600.0)])
def test_a_server_that_says_when_is_asked_no_sooner(asked: str, at_least: float) -> None:
    gaps: list[float] = []

    async def scenario() -> Site:
        async with site(started=False, doorbell=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            busy = Told(
                clinic.fhir,
                "GET",
                "/fhir/Patient/maple",
                Response(status=429, headers={"retry-after": asked}),
            )
            clinic.fhir = busy  # type: ignore[assignment]  # the same world, but for that
            await clinic.start()
            await clinic.passes(at_least * 1.3 + 120)
            gaps.extend((later - at).total_seconds() for at, later in zip(busy.at, busy.at[1:], strict=False))
            return clinic

    clinic = run(scenario())

    assert at_least <= gaps[0] <= at_least * 1.2 + 30
    assert clinic.communication("referral")["status"] == "completed"


@pytest.mark.parametrize(("path", "skip"), [("/fhir/Binary/", 0), ("/fhir/Communication/referral", 2)])
def test_a_server_that_says_when_is_written_to_no_sooner(path: str, skip: int) -> None:
    """An attachment that came in; the end of a message, after its claim."""

    async def scenario() -> Told:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            later = Response(status=503, headers={"retry-after": "600"})
            busy = Told(clinic.fhir, "PUT", path, later, skip=skip)
            clinic.fhir = busy  # type: ignore[assignment]  # the same world, but for that
            await clinic.start()
            attachment = {"title": "a", "contentType": "text/plain", "data": "aGVsbG8="}
            clinic.metriport.receive(clinic.clock.now(), subject="Result", attachments=[attachment])
            await clinic.passes(900)
            return busy

    refused, again, *_ = run(scenario()).at[skip:]

    assert 600 <= (again - refused).total_seconds() <= 600 * 1.2 + 60


class Told:
    """A neighbour that gives one kind of request an answer of ours, once: the first, or after so many."""

    def __init__(self, world: Any, method: str, path: str, answer: Response, *, skip: int = 0) -> None:
        self._world, self._method, self._path, self._answer = world, method, path, answer
        self._skip = skip
        self.at: list[datetime] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def handle(self, request: Request, now: datetime) -> Response:
        if request.method != self._method or not request.path.startswith(self._path):
            return self._world.handle(request, now)  # type: ignore[no-any-return]  # a world's answer
        self.at.append(now)
        return self._answer if len(self.at) == self._skip + 1 else self._world.handle(request, now)


Twist = Callable[[dict[str, Any], datetime], dict[str, Any]]


class Searching:
    """A FHIR server whose searches are not what is there."""

    def __init__(self, world: Any, twist: Twist, *, delay: float = 0.0) -> None:
        self._world, self._twist, self._delay = world, twist, delay

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def handle(self, request: Request, now: datetime) -> Response:
        answer: Response = self._world.handle(request, now)
        page = json.loads(answer.body) if answer.body.startswith(b"{") else {}
        if request.method != "GET" or page.get("type") != "searchset":
            return answer
        body = json.dumps(self._twist(page, now)).encode()
        return Response(status=200, headers=answer.headers, body=body, delay_seconds=self._delay)


def _late(page: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Rows become visible two minutes after they were written."""
    seen = (now - timedelta(minutes=2)).isoformat()
    return {
        **page,
        "entry": [one for one in page.get("entry", []) if one["resource"]["meta"]["lastUpdated"] <= seen],
    }


class _Stale:
    """Rows are shown as they were first seen, long after they changed."""

    def __init__(self) -> None:
        self._first: dict[str, Any] = {}

    def __call__(self, page: dict[str, Any], _now: datetime) -> dict[str, Any]:
        for one in page.get("entry", []):
            if one["resource"].get("status") == "preparation":
                self._first.setdefault(one["resource"]["id"], one)
        known = {one["resource"]["id"]: one for one in page.get("entry", [])}
        asks = [one for one in page["link"] if one["relation"] == "self"]
        if "status=preparation" not in str(asks):
            return page
        return {**page, "entry": list({**known, **self._first}.values())}


class _Shifting:
    """Each page lacks what moved to a page that was read, and repeats what moved to the next one."""

    def __init__(self) -> None:
        self._pages = 0
        self._last: list[Any] = []

    def __call__(self, page: dict[str, Any], _now: datetime) -> dict[str, Any]:
        self._pages += 1
        entries = page.get("entry", [])
        shown = [*self._last, *entries[self._pages % 2 :]]
        self._last = entries[-1:]
        return {**page, "entry": shown}


@pytest.mark.parametrize(
    ("twist", "delay", "doorbell"),
    [
        pytest.param(_late, 0.0, False, id="rows become visible late"),
        pytest.param(_Stale(), 0.0, False, id="searches are stale"),
        pytest.param(_Stale(), 0.0, True, id="searches are stale, and the bell rings"),
        pytest.param(_Shifting(), 0.0, False, id="pages shift"),
        pytest.param(lambda page, _: page, 15.0, False, id="pages are slow"),
    ],
)
def test_searches_that_are_not_what_is_there(twist: Twist, delay: float, doorbell: bool) -> None:  # noqa: FBT001
    async def scenario() -> Site:
        async with site(started=False, doorbell=doorbell) as clinic:
            stage(clinic)
            for number in range(25):
                clinic.write(communication(id=f"m-{number}", topic={"text": str(number)}))
            clinic.fhir = Searching(clinic.fhir, twist, delay=delay)  # type: ignore[assignment]  # the same world
            await clinic.start()
            await clinic.passes(400)
            return clinic

    with overhearing(style="json") as heard:
        clinic = run(scenario())

    _each_sent_once(clinic, messages=25)
    assert _alarms(heard) == []


def test_a_database_that_is_restarted_is_one_episode() -> None:
    async def day(clinic: Site) -> None:
        assert clinic._ledger is not None
        with _down(clinic._ledger._database._writer.sync_engine):
            await clinic.passes(TEN_MINUTES)
            assert clinic.adapter is not None
            assert clinic.adapter.worker.episodes.ledger.is_open
        await clinic.passes(600)

    clinic, heard = _day(day)

    _each_sent_once(clinic)
    _said_twice(heard, "ledger")


def test_a_full_disk_sends_nothing_until_there_is_room() -> None:
    sent: list[int] = []

    async def day(clinic: Site) -> None:
        assert clinic._ledger is not None
        with _down(clinic._ledger._database._writer.sync_engine, but="SELECT"):
            sent.append(len(clinic.sends()))
            await clinic.passes(TEN_MINUTES)
            sent.append(len(clinic.sends()))
        await clinic.passes(600)

    clinic, heard = _day(day, auto_complete_seconds=30.0)

    _each_sent_once(clinic)
    _said_twice(heard, "ledger")
    assert sent[0] == sent[1] > 0


@contextmanager
def _down(engine: sa.Engine, *, but: str = "nothing") -> Iterator[None]:
    """The database takes no statement, but for those that begin so."""

    def refuse(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(but):
            raise exc.OperationalError("", None, Exception("database or disk is full"))

    event.listen(engine, "before_cursor_execute", refuse)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", refuse)


def test_an_expired_key_is_one_alarm_and_mends_itself() -> None:
    async def day(clinic: Site) -> None:
        clinic.metriport.set_keys("another-key")
        await clinic.passes(1800)
        ends = [one["status"] for one in clinic.fhir.resources("Communication")]
        assert set(ends) <= {"preparation", "in-progress", "completed"}
        assert not any("outcome-unknown" in str(one) for one in clinic.fhir.resources("Communication"))
        clinic.metriport.set_keys("virtual-key")
        await clinic.passes(600)

    clinic, heard = _day(day, auto_complete_seconds=2.0)

    _each_sent_once(clinic)
    assert [event for event, _ in _alarms(heard)] == ["lane.stopped"]
    assert len(_lines(heard, "lane.goes-on")) == 1


@pytest.mark.parametrize("waiting", ["files", "nothing"])
def test_an_expired_key_is_one_alarm_though_no_message_is_about_to_be_sent(waiting: str) -> None:
    """All that wait have something to be uploaded, or all is sent and only asked for."""
    file = {"contentAttachment": {"contentType": "text/plain", "data": "U2Vlbi4="}}
    stopped: list[str | None] = []

    async def day(clinic: Site) -> None:
        clinic.metriport.add_fault("*", "", "webhook-lost", times=100)
        await clinic.passes(20)
        clinic.metriport.set_keys("another-key")
        for number in range(5, 8 if waiting == "files" else 5):
            clinic.write(communication(id=f"m-{number}", topic={"text": str(number)}, payload=[file]))
        await clinic.passes(1800)
        assert clinic.adapter is not None
        stopped.append(clinic.adapter.worker.lane.stopped)
        clinic.metriport.set_keys("virtual-key")
        await clinic.passes(900)
        stopped.append(clinic.adapter.worker.lane.stopped)

    clinic, heard = _day(day, auto_complete_seconds=60.0)

    _each_sent_once(clinic, messages=8 if waiting == "files" else 5)
    assert [event for event, _ in _alarms(heard)] == ["lane.stopped"]
    assert len(_lines(heard, "lane.goes-on")) == 1
    assert "API key is refused" in str(stopped[0])
    assert stopped[1] is None
    checks = [one for one in clinic.metriport.requests if one.query == "count=1"]
    assert len(checks) <= 2 * 1800 / 30


def test_one_message_that_metriport_cannot_tell_about_keeps_no_other_from_its_end() -> None:
    async def day(clinic: Site) -> None:
        clinic.metriport.add_fault("*", "", "webhook-lost", times=100)
        await clinic.passes(20)
        first = clinic.metriport.messages[0]
        clinic.metriport.add_fault("GET", f"/medical/v1/message/{first.id}", "500", times=10_000)
        await clinic.passes(600)

    clinic, _ = _day(day, auto_complete_seconds=20.0)

    ends = sorted(one["status"] for one in clinic.fhir.resources("Communication"))
    assert ends == ["completed"] * 4 + ["in-progress"]


def test_a_question_that_cannot_be_asked_now_is_asked_later_and_holds_up_nobody() -> None:
    async def day(clinic: Site) -> None:
        clinic.fhir.add_fault("*", "/Task", "503", times=9)
        clinic.write(communication(id="held", recipient=[{"display": "Somebody at the harbour"}]))
        await clinic.passes(400)

    clinic, _ = _day(day)

    ends = {one["id"]: one["status"] for one in clinic.fhir.resources("Communication")}
    assert ends == {"held": "on-hold"} | {f"m-{number}": "completed" for number in range(5)}
    assert [task["focus"]["reference"] for task in clinic.fhir.resources("Task")] == ["Communication/held"]


# The doorbell


def _bells(heard: Overheard) -> list[str]:
    return [
        line["event"]
        for line in _lines(heard, "neighbour.trouble", "neighbour.well")
        if line["neighbour"] == "doorbell"
    ]


def test_a_subscription_that_died_silently_is_noticed_once_and_repaired() -> None:
    at: list[float] = []

    async def day(clinic: Site) -> None:
        await clinic.passes(60)
        clinic.fhir.silence()
        for number in range(3):
            clinic.write(communication(id=f"silent-{number}", topic={"text": f"{5 + number}"}))
            await clinic.passes(40)
        clinic.write(communication(id="heard", topic={"text": "8"}))
        await clinic.passes(8)
        at.append(len(clinic.metriport.messages))
        await clinic.passes(120)

    clinic, heard = _day(day)

    _each_sent_once(clinic, messages=9)
    assert _bells(heard) == ["neighbour.trouble", "neighbour.well"]
    repaired = [line["outcome"] for line in _lines(heard, "doorbell.seen-to")]
    assert repaired == ["created", "repaired"]
    assert at == [9]  # it rings again: no sweep was needed


def test_a_subscription_that_was_deleted_is_made_again() -> None:
    async def day(clinic: Site) -> None:
        await clinic.passes(60)
        [bell] = clinic.fhir.resources("Subscription")
        await clinic.delete(f"Subscription/{bell['id']}")
        for number in range(4):
            clinic.write(communication(id=f"silent-{number}", topic={"text": f"{5 + number}"}))
            await clinic.passes(40)

    clinic, heard = _day(day)

    _each_sent_once(clinic, messages=9)
    assert _bells(heard) == ["neighbour.trouble", "neighbour.well"]
    assert [one["status"] for one in clinic.fhir.resources("Subscription")] == ["active"]


def test_a_subscription_is_looked_after_though_nothing_shows_that_it_is_gone() -> None:
    async def day(clinic: Site) -> None:
        await clinic.passes(60)
        for _ in range(2):
            [bell] = clinic.fhir.resources("Subscription")
            await clinic.delete(f"Subscription/{bell['id']}")
            await clinic.passes(330)

    clinic, heard = _day(day)

    assert [one["status"] for one in clinic.fhir.resources("Subscription")] == ["active"]
    assert [line["outcome"] for line in _lines(heard, "doorbell.seen-to")] == ["created"] * 3
    assert _alarms(heard) == []


def test_a_bell_that_no_repair_makes_ring_is_repaired_more_and_more_rarely() -> None:
    async def day(clinic: Site) -> None:
        for number in range(30):
            clinic.fhir.silence()
            clinic.write(communication(id=f"silent-{number}", topic={"text": f"{5 + number}"}))
            await clinic.passes(60)

    clinic, heard = _day(day)

    _each_sent_once(clinic, messages=35)
    assert _bells(heard) == ["neighbour.trouble"]
    assert 3 <= len(_lines(heard, "doorbell.seen-to")) <= 8


@pytest.mark.parametrize("payload", [True, False])
def test_a_bell_that_rings_is_not_doubted(payload: bool) -> None:  # noqa: FBT001
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            watch = clinic.settings.watch.model_copy(update={"doorbell_payload": payload})
            clinic.settings = clinic.settings.model_copy(update={"watch": watch})
            stage(clinic)
            await clinic.start()
            for number in range(30):
                clinic.write(communication(id=f"m-{number}", topic={"text": str(number)}))
                await clinic.passes(1 + number)
            return clinic

    with overhearing(style="json") as heard:
        clinic = run(scenario())

    _each_sent_once(clinic, messages=30)
    assert _bells(heard) == []
    assert [line["outcome"] for line in _lines(heard, "doorbell.seen-to")] == ["created"]

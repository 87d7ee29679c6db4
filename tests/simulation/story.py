"""What is to happen in one history, all of it drawn from a seed before it begins."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from tests.simulation.operations import CLAIM, CONTENT, LISTING, POST, POST_FAULTS

Point = Literal["before", "wire", "applied", "answered"]
POINTS: Final[tuple[Point, ...]] = ("before", "wire", "applied", "answered")
SHOCKS: Final = (
    "kill", "kill", "stop", "ledger-deleted", "ledger-rolled-back", "pause", "clock-steps",
)  # fmt: skip
DEEDS: Final = (
    "edit", "edit-blind", "blind-put", "withdraw", "stop", "not-done", "delete", "copy", "wish-again", "wish-again",
    "wish-again-blind", "resend", "impatient",
)  # fmt: skip
ANSWERS: Final = ("choose", "choose", "by-hand", "reject", "choose-nobody", "note", "discard")
OPERATIONS_OF_A_LETTER: Final = 26
OPERATIONS_OF_AN_ARRIVAL: Final = 20
STATUS_FAULTS: Final = ("none", "webhook-lost", "webhook-twice", "webhook-late", "webhook-again")
WEBHOOK_FAULTS: Final = (*STATUS_FAULTS, "url-expired")
DIALECTS: Final = ("sdk", "docs", "docs-bare")


@dataclass(frozen=True, kw_only=True)
class Letter:
    """One Communication: letters of the same `text` say the same. `fails` is by round.

    `call` is what becomes of the webhooks that tell how it ended.
    """

    id: str
    text: str
    at: float
    to: Literal["heart", "kidney"] = "heart"
    enclosure: Literal["none", "own", "shared"] = "none"
    fails: tuple[bool, ...] = (False,)
    ends_after: float = 5.0
    call: str = "none"


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A message that somebody sends in; `fault` is what becomes of its webhook or of its links."""

    at: float
    enclosures: int = 0
    known: bool = True
    fault: str = "none"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a clinician does so long `after` the arrival of that number is there: reads, and saves `gap` seconds later."""

    arrival: int
    after: float
    kind: str
    gap: float


@dataclass(frozen=True, kw_only=True)
class Strike:
    """What happens at the n-th operation: a kill at a point of it, or a fault; `choice` says which, of those it may have."""

    operation: int
    point: Point | None = None
    fault: str | None = None
    choice: float = 0.0
    seconds: float = 5.0


@dataclass(frozen=True, kw_only=True)
class Deed:
    """What an author does: reads the Communication at that time, and saves so many seconds later."""

    at: float
    letter: str
    kind: str
    gap: float


@dataclass(frozen=True, kw_only=True)
class Shock:
    """What happens to a process or to its ledger at that time; `seconds` is how long, how far back or how far off."""

    at: float
    kind: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Story:
    """One history before it happens. `name` finds it again. `faults` are by kind of operation, in their order.

    What `refused` names, Metriport's firewall refuses for so many seconds from the first POST of that letter on. The FHIR
    server keeps the last `history` versions only, where that is given. `dialect` is Metriport's.
    """

    name: str
    seed: int
    letters: tuple[Letter, ...] = ()
    arrivals: tuple[Arrival, ...] = ()
    faults: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    strikes: tuple[Strike, ...] = ()
    deeds: tuple[Deed, ...] = ()
    answers: tuple[Answer, ...] = ()
    shocks: tuple[Shock, ...] = ()
    replicas: int = 1
    sends_per_minute: int = 20
    list_lag: float = 0.0
    doorbell: bool = False
    track: float = 8.0
    slowness: float = 0.02
    absence: float = 20.0
    refused: Mapping[str, float] = field(default_factory=dict)
    history: int | None = None
    dialect: str = "sdk"


def drawn(seed: int) -> Story:
    """The story of a seed."""
    numbers = random.Random(seed)
    letters = _letters(numbers)
    arrivals = _arrivals(numbers)
    span = max([*(letter.at for letter in letters), *(arrival.at for arrival in arrivals)]) + 60.0
    operations = OPERATIONS_OF_A_LETTER * len(letters) + OPERATIONS_OF_AN_ARRIVAL * len(arrivals)
    strikes = [
        Strike(
            operation=numbers.randrange(1, operations),
            point=numbers.choice(POINTS) if numbers.random() < 0.35 else None,
            choice=numbers.random(),
            seconds=numbers.choice([0.5, 3.0, 12.0, 30.0, 45.0]),
        )
        for _ in range(numbers.choice([0, 1, 2, 2, 3, 4, 6]))
    ]
    deeds = [
        Deed(
            at=numbers.uniform(0.0, span + (600.0 if numbers.random() < 0.4 else 0.0)),
            letter=numbers.choice(letters).id,
            kind=numbers.choice(DEEDS),
            gap=numbers.choice([0.0, 0.05, 1.0, 8.0, 90.0]) * numbers.random(),
        )
        for _ in range(numbers.choice([0, 0, 1, 2, 4]))
    ]
    shocks = [
        Shock(
            at=numbers.uniform(0.0, span + (400.0 if numbers.random() < 0.3 else 0.0)),
            kind=numbers.choice(SHOCKS),
            seconds=numbers.choice([0.5, 5.0, 12.0, 25.0, 50.0]) * numbers.uniform(0.5, 1.0),
        )
        for _ in range(numbers.choice([0, 0, 0, 1, 1, 2]))
    ]
    story = Story(
        name=f"seed {seed}",
        seed=seed,
        letters=letters,
        arrivals=arrivals,
        strikes=tuple(sorted(strikes, key=lambda strike: strike.operation)),
        deeds=tuple(sorted(deeds, key=lambda deed: deed.at)),
        shocks=tuple(sorted(shocks, key=lambda shock: shock.at)),
        replicas=numbers.choice([1, 1, 1, 2]),
        sends_per_minute=numbers.choice([20, 20, 20, 4]),
        list_lag=numbers.choice([0.0, 0.0, 30.0, 115.0]),
        doorbell=numbers.random() < 0.3,
        track=numbers.choice([3.0, 8.0, 20.0]),
        slowness=numbers.choice([0.002, 0.02, 0.2]),
        absence=numbers.choice([0.2, 5.0, 20.0, 100.0]),
        answers=_answers(numbers, len(arrivals)),
        refused=_refused(numbers, letters),
        history=numbers.choice([None, None, None, None, None, None, 0, 1, 3]),
        faults=_runs(numbers),
        dialect=numbers.choice(DIALECTS),
    )
    spoiled = story.faults.get(CONTENT, ()) * numbers.choice([1, 1, 8])
    if len(spoiled) > 1:  # an attachment's bytes are believed after a while
        arrivals = tuple(replace(arrival, enclosures=0) for arrival in arrivals)
    return replace(story, arrivals=arrivals, faults={**story.faults, CONTENT: spoiled}) if spoiled else story


def authored(seed: int) -> Story:
    """The story of a seed with a letter or two whose authors do much; of every three, one has faults and one has shocks."""
    story, numbers = drawn(seed), random.Random(seed * 31 + 7)
    letters = story.letters[:2]
    span = max(letter.at for letter in letters) + 60.0 + numbers.choice([60.0, 300.0, 900.0])
    deeds = [
        Deed(
            at=numbers.uniform(0.0, span),
            letter=numbers.choice(letters).id,
            kind=numbers.choice((*DEEDS, "resend", "edit-blind", "wish-again-blind")),
            gap=numbers.choice([0.0, 0.05, 1.0, 20.0, 90.0]) * numbers.random(),
        )
        for _ in range(numbers.choice([4, 8, 12]))
    ]
    return replace(
        story,
        name=f"authors {seed}",
        letters=letters,
        arrivals=(),
        answers=(),
        deeds=tuple(sorted(deeds, key=lambda deed: deed.at)),
        strikes=story.strikes if seed % 3 == 0 else (),
        shocks=story.shocks if seed % 3 == 1 else (),
    )


DRAWN: Final[Mapping[str, Callable[[int], Story]]] = {"random": drawn, "authors": authored}


def _letters(numbers: random.Random) -> tuple[Letter, ...]:
    letters: list[Letter] = []
    for place in range(numbers.choice([1, 2, 3, 3, 4, 5, 6])):
        twin = numbers.random() < 0.33 and letters
        letters.append(
            Letter(
                id=f"letter-{place}",
                text=numbers.choice(letters).text if twin else f"text {place}",
                at=numbers.choice([0.0, 0.0, 1.0, 10.0, 200.0]) * numbers.random(),
                to=numbers.choice(["heart", "heart", "heart", "kidney"]),
                enclosure=numbers.choice(["none", "none", "none", "own", "shared"]),
                fails=(numbers.random() < 0.35, numbers.random() < 0.3, False),
                ends_after=numbers.choice([0.0, 2.0, 30.0, 400.0]) * numbers.random(),
                call=numbers.choice(STATUS_FAULTS),
            )
        )
    return tuple(letters)


def _arrivals(numbers: random.Random) -> tuple[Arrival, ...]:
    return tuple(
        Arrival(
            at=numbers.choice([0.0, 10.0, 200.0]) * numbers.random(),
            enclosures=numbers.choice([0, 1, 2]),
            known=numbers.random() < 0.7,
            fault=numbers.choice(WEBHOOK_FAULTS),
        )
        for _ in range(numbers.choice([0, 0, 0, 1, 2]))
    )


def _runs(numbers: random.Random) -> dict[str, tuple[str, ...]]:
    """What lasts longer than single strikes do: of every four stories, one has some of it."""
    if numbers.random() >= 0.25:
        return {}
    kind = numbers.choice(["posts", "pause", "list", "content"])
    times, seconds = numbers.choice([1, 3, 10, 60]), numbers.choice([60, 300, 900])
    if kind == "posts":
        return {POST: tuple(numbers.choices(POST_FAULTS, k=numbers.randrange(1, 4)))}
    if kind == "pause":
        operation = numbers.choice(["ledger intend", "ledger change", CLAIM, POST])
        return {operation: (f"{numbers.choice(['pause', 'pause-after'])}:{seconds}",)}
    if kind == "list":
        return {LISTING: (numbers.choice(["list-empty", "list-empty", "list-move", "500"]),) * times}
    return {CONTENT: (numbers.choice(["malformed", "404", "500"]),), LISTING: ("500",) * times}


def _refused(numbers: random.Random, letters: tuple[Letter, ...]) -> dict[str, float]:
    return {letter.id: numbers.choice([60.0, 400.0, 3000.0]) for letter in letters if numbers.random() < 0.06}


def _answers(numbers: random.Random, arrivals: int) -> tuple[Answer, ...]:
    return tuple(
        Answer(
            arrival=place,
            after=numbers.choice([0.0, 60.0, 300.0, 2000.0]) * numbers.random(),
            kind=numbers.choice(ANSWERS),
            gap=numbers.choice([0.0, 1.0, 90.0]) * numbers.random(),
        )
        for place in range(arrivals)
        for _ in range(numbers.choice([0, 1, 1, 2]))
    )

"""`python -m tests.simulation` goes on with the campaign; with `--seed` or `--story` it plays and prints one history.

`--without GUARD` takes a guard of the protocol out, and looks for the first random story that goes wrong then.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest
import structlog

from tests.simulation.campaign import Figures, go_on
from tests.simulation.exhaustive import SCENARIOS, named
from tests.simulation.history import play
from tests.simulation.mutations import MUTATIONS
from tests.simulation.story import DRAWN, drawn

_STATE = Path(".simulation/reached.json")
_SILENT = 50
_LISTS = (
    *DRAWN,
    *(f"{of}{part}" for of in ("singles", "pairs") for part in ("", *(f"/{one}" for one in SCENARIOS))),
)


def main() -> int:
    """Exit code 1 when something was wrong."""
    options = _options()
    if options.seed is not None or options.story:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_SILENT))
        outcome = play(named(options.story) if options.story else DRAWN.get(options.of, drawn)(options.seed))
        _say(*outcome.transcript, *(outcome.judgement.wrong or ["all is well"]))
        return bool(outcome.judgement.wrong)
    if options.without:
        return _search(options.without, until=options.until)
    figures, said = Figures(), 0
    for reached, figures in go_on(
        _STATE, of=options.of, start=options.start, until=options.until, processes=options.processes
    ):
        _say(f"{options.of} {reached}: {figures.lines()[0]}", *figures.failing[said:])
        said = len(figures.failing)
    _say(*(f"{operation} met {fault}" for operation, fault in sorted(figures.covered)))
    return bool(figures.failing)


def _search(guard: str, *, until: int) -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_SILENT))
    for seed in range(until + 1):
        with pytest.MonkeyPatch.context() as patch:
            MUTATIONS[guard].without(patch)
            wrong = play(drawn(seed)).judgement.wrong
        if wrong:
            _say(f"seed {seed} goes wrong without {guard}", *wrong)
            return 0
    _say(f"up to seed {until} all is well without {guard}")
    return 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--of", choices=_LISTS, default="random")
    parser.add_argument(
        "--from", dest="start", type=int, default=0, help="the number of the first seed, or ground"
    )
    parser.add_argument("--until", type=int, default=200_000, help="the number after the last")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, help="play this seed's story of that list alone and print it")
    parser.add_argument("--without", choices=MUTATIONS, help="a guard of the protocol")
    parser.add_argument("--story", help="the same for one of the exhaustive lists")
    return parser.parse_args()


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

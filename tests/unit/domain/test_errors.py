"""The error tree: what each error carries for whoever has to act."""

from __future__ import annotations

import pytest

from adapter import errors
from adapter.errors import AdapterError, Conflict, MappingError, Rejected, Temporary, Unresolved
from tests.builders import NOW


def test_every_error_is_drawn_in_the_tree() -> None:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AdapterError)
    ]

    assert errors.__doc__ is not None
    assert len(kinds) == 9
    assert all(f" {kind.__name__} " in f"{errors.__doc__} ".replace("\n", " ") for kind in kinds)


def test_a_temporary_error_may_have_been_applied_unless_it_says_not() -> None:
    assert Temporary("later").applied
    assert Temporary("later").retry_at is None
    refused = Temporary("later", retry_at=NOW, applied=False)
    assert (refused.retry_at, refused.applied, str(refused)) == (NOW, False, "later")


def test_a_conflict_carries_the_version() -> None:
    assert Conflict("changed", version="4").version == "4"
    assert Conflict("changed").version is None


def test_a_rejection_keeps_the_neighbours_sentences_out_of_its_message() -> None:
    rejected = Rejected("refused", status=422, issues=["Quillfeather has moved"])

    assert (rejected.status, rejected.issues) == (422, ("Quillfeather has moved",))
    assert "Quillfeather" not in str(rejected)
    assert "Quillfeather" not in repr(rejected)


@pytest.mark.parametrize(
    ("line", "path", "sentence"),
    [
        (None, None, "a.j2: wrong"),
        (3, None, "a.j2, line 3: wrong"),
        (None, "subject", "a.j2, at subject: wrong"),
        (3, "subject", "a.j2, line 3, at subject: wrong"),
    ],
)
def test_a_mapping_error_names_its_place(line: int | None, path: str | None, sentence: str) -> None:
    error = MappingError("wrong", template="a.j2", line=line, path=path)

    assert str(error) == sentence
    assert (error.template, error.line, error.path) == ("a.j2", line, path)


def test_an_unresolved_look_up_says_how_many_fit() -> None:
    assert Unresolved("several fit", candidates=3).candidates == 3

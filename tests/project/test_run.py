"""The parts of the tests, and when all of them count as passed."""

from __future__ import annotations

import pytest

from tests import run


@pytest.mark.parametrize(
    ("statuses", "selected", "expected"),
    [
        ([0, 0, 0], False, True),
        ([0, 5, 0], False, False),
        ([0, 5, 5], True, True),
        ([5, 5, 5], True, False),
        ([0, 1, 5], True, False),
    ],
)
def test_parts_without_tests(statuses: list[int], selected: bool, expected: bool) -> None:
    """A part may select none only where options of the caller's own chose tests, and some part has to run some."""
    assert run.passed(statuses, selected=selected) is expected


def test_every_test_is_in_one_part() -> None:
    """What one part names, the part of all others leaves out; no name is misspelt."""
    others, *named = sorted((names for names, _ in run.parts()), key=lambda names: "tests" not in names)
    apart = [name for names in named for name in names]
    assert len(set(apart)) == len(apart)
    assert all((run.ROOT / name).exists() for name in apart)
    assert sorted(others) == sorted(["tests", *(f"--ignore={name}" for name in apart)])

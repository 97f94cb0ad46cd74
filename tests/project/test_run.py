"""When all parts of the tests count as passed."""

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

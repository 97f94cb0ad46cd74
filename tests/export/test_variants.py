"""The table of checkpoints and the runtime's list of their names."""

from __future__ import annotations

from claprt.bundle.published import PUBLISHED, published_name
from claprt_export.checkpoints import variants


def test_runtime_has_the_same_names() -> None:
    assert set(PUBLISHED) == set(variants.VARIANTS)
    for row in variants.VARIANTS.values():
        for form in (row.name, f"{row.name}.pt", row.repository and f"{row.repository}/{row.weights}"):
            assert form is None or published_name(form) == row.name
            assert form is None or variants.variant(form) is row

"""How the rooms of both packages hang together; import-linter's contracts say which may import which.

    python -m pytest -s tests/project/test_rooms.py

prints the modules beside the rooms, and the longest chain of rooms that import each other.
"""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

grimp = pytest.importorskip("grimp", reason="needs import-linter: the dev extra")

ROOT = Path(__file__).parents[2]
LONGEST, MOST_MODULES = 10, 8


def longest_chain(imports: dict[str, set[str]]) -> list[str]:
    """The longest way from a room to one that it imports, and so on; there are no circles."""

    @functools.cache
    def below(room: str) -> list[str]:
        return max(([room, *below(other)] for other in sorted(imports[room])), key=len, default=[room])

    return max((below(room) for room in sorted(imports)), key=len)


def imports_of_rooms(package: str) -> dict[str, set[str]]:
    """The rooms of a package, which are its folders, and what each imports directly."""
    graph = grimp.build_graph(package)
    rooms = {module.split(".")[1] for module in graph.modules if module.count(".") > 1}
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for module in graph.modules:
        room = module.split(".")[1] if "." in module else ""
        for other in graph.find_modules_directly_imported_by(module):
            if room in rooms and "." in other and (imported := other.split(".")[1]) in rooms - {room}:
                found[room].add(imported)
    return found


def test_the_longest_chain_is_found() -> None:
    assert longest_chain({"a": {"b", "d"}, "b": {"c"}, "c": set(), "d": set()}) == ["a", "b", "c"]


@pytest.mark.parametrize(("package", "source"), [("claprt", "runtime"), ("claprt_export", "export")])
def test_rooms_are_few_steps_apart(package: str, source: str) -> None:
    chain = longest_chain(imports_of_rooms(package))
    modules = sorted(path.stem for path in (ROOT / source / package).glob("*.py"))
    print(f"{package}: {len(chain)} rooms in a row, {' > '.join(chain)}; {len(modules)} modules beside rooms")  # noqa: T201
    assert 2 < len(chain) <= LONGEST
    if package == "claprt":
        assert len(modules) <= MOST_MODULES

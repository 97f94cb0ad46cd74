"""LanceDB's own tables embed, search, and refuse another model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.arrays import Embeddings
from claprt.errors import FingerprintError
from tests.integrations.conftest import QUERY

lancedb: Any = pytest.importorskip("lancedb", reason="needs LanceDB: make test WHAT=integrations")

from lancedb.pydantic import LanceModel, Vector  # noqa: E402 # pyright: ignore[reportMissingImports]

from claprt.integrations.lancedb import ClapEmbeddings  # noqa: E402

pytestmark = [pytest.mark.seconds, pytest.mark.filterwarnings("ignore")]


def table_of(db: Any, bundle: Path, rows: list[dict[str, Any]], kind: type = str) -> Any:
    clap = ClapEmbeddings.create(bundle=str(bundle))

    class Sound(LanceModel):  # pyright: ignore[reportUntypedBaseClass]
        source: kind | None = clap.SourceField()  # type: ignore[valid-type]
        vector: Vector(clap.ndims()) | None = clap.VectorField(default=None)  # type: ignore[valid-type]

    table = db.create_table("sounds", schema=Sound)
    table.add(rows, on_bad_vectors="null")
    return table


def test_two_hundred_sounds_are_found_by_text(
    copied: Path, clap: claprt.Clap, many: list[str], vectors: Embeddings, nearest: list[str], tmp_path: Path,
    replace_model: Callable[[], str],
) -> None:  # fmt: skip
    table_of(lancedb.connect(tmp_path / "db"), copied, [{"source": path} for path in many])

    table = lancedb.connect(tmp_path / "db").open_table("sounds")
    assert np.array_equal(np.stack(table.to_arrow()["vector"].to_pylist()).astype(np.float32), vectors)
    hits = table.search(QUERY).distance_type("cosine").limit(10).to_list()
    assert [hit["source"] for hit in hits] == nearest
    for sound in (many[7], Path(many[7]), Path(many[7]).read_bytes()):
        assert table.search(sound, vector_column_name="vector").limit(1).to_list()[0]["source"] == many[7]
    assert clap.fingerprint in table.schema.metadata[b"embedding_functions"].decode()

    other = replace_model()
    table = lancedb.connect(tmp_path / "db").open_table("sounds")
    for act in (lambda: table.search(QUERY).limit(1).to_list(), lambda: table.add([{"source": many[0]}])):
        with pytest.raises(FingerprintError) as refused:
            act()
        assert f"The table has vectors of {clap.fingerprint}" in str(refused.value)
        assert other in str(refused.value)


def test_columns_of_bytes_and_of_texts(bundle: Path, clap: claprt.Clap, few: list[str], tmp_path: Path) -> None:
    contents = [Path(path).read_bytes() for path in few]
    table = table_of(lancedb.connect(tmp_path / "bytes"), bundle, [{"source": one} for one in contents], bytes)
    found = np.stack(table.to_arrow()["vector"].to_pylist()).astype(np.float32)
    assert np.array_equal(found, clap.embed_audio(few))
    table = table_of(lancedb.connect(tmp_path / "texts"), bundle, [{"source": "rain"}, {"source": None}])
    first, second = table.to_arrow()["vector"].to_pylist()
    assert np.array_equal(np.float32(first), clap.embed_text("rain"))
    assert second is None


def test_a_sound_that_cannot_be_embedded_adds_nothing(bundle: Path, few: list[str], tmp_path: Path) -> None:
    table = table_of(lancedb.connect(tmp_path / "db"), bundle, [{"source": few[0]}])
    with pytest.raises(RuntimeError, match="nowhere.wav was asked for, and there is no such file"):  # LanceDB's
        table.add([{"source": few[1]}, {"source": "nowhere.wav"}])
    assert table.count_rows() == 1

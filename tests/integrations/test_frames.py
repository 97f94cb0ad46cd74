"""Tables that other libraries compute: Hugging Face datasets, Ray Data, Daft."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.arrays import Embeddings
from claprt.errors import FingerprintError, OptionError
from tests.integrations.conftest import QUERY

pytestmark = [pytest.mark.seconds, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = pytest.importorskip("datasets", reason="needs datasets: make test WHAT=integrations")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return found


def test_a_dataset_is_embedded_saved_and_searched(
    datasets: Any, copied: Path, clap: claprt.Clap, many: list[str], vectors: Embeddings, nearest: list[str],
    tmp_path: Path, replace_model: Callable[[], str],
) -> None:  # fmt: skip
    from claprt.integrations.datasets import embed_dataset, embed_query

    sounds = datasets.Dataset.from_dict({"audio": many, "path": many}).cast_column("audio", datasets.Audio())
    embedded = embed_dataset(sounds, copied)
    assert embedded.features["audio"] == datasets.Audio()
    assert embedded.features["embedding"] == datasets.List(datasets.Value("float32"), length=clap.dim)
    assert np.allclose(np.stack(embedded.with_format("numpy")["embedding"]), vectors, atol=1e-6)
    embedded.save_to_disk(tmp_path / "saved")

    again = datasets.load_from_disk(tmp_path / "saved")
    query = embed_query(again, QUERY, copied)
    cosines = np.stack(again.select_columns(["embedding"]).with_format("numpy")["embedding"]) @ query
    assert [many[at] for at in np.argsort(-cosines)[:10]] == nearest
    with pytest.raises(OptionError, match="a column 'embedding' of this model already"):
        embed_dataset(again, copied)

    other = replace_model()
    for act in (lambda: embed_query(again, QUERY, copied), lambda: embed_dataset(again, copied)):
        with pytest.raises(FingerprintError) as refused:
            act()
        assert f"The data set has vectors of {clap.fingerprint}" in str(refused.value)
        assert other in str(refused.value)


def test_faiss_finds_the_same(datasets: Any, clap: claprt.Clap, few: list[str]) -> None:
    pytest.importorskip("faiss", reason="needs faiss")
    from claprt.integrations.datasets import embed_dataset, embed_query

    sounds = embed_dataset(datasets.Dataset.from_dict({"path": few}), clap, "path")
    sounds.add_faiss_index("embedding")
    _, found = sounds.get_nearest_examples("embedding", embed_query(sounds, Path(few[3]), clap), k=1)
    assert found["path"] == [few[3]]


def test_what_a_column_of_a_dataset_may_hold(datasets: Any, clap: claprt.Clap, few: list[str]) -> None:
    from claprt.integrations.datasets import embed_dataset

    expected = clap.embed_audio(few)
    contents = [Path(path).read_bytes() for path in few]
    audio = datasets.Dataset.from_dict({"audio": [{"bytes": one, "path": None} for one in contents]})
    for table, column in (
        (audio.cast_column("audio", datasets.Audio()), "audio"),
        (audio.cast_column("audio", datasets.Audio(decode=False)), "audio"),
        (datasets.Dataset.from_dict({"content": contents}), "content"),
        (datasets.Dataset.from_dict({"path": few}), "path"),
    ):
        found = embed_dataset(table, clap, column)
        assert found.features[column] == table.features[column]
        assert np.array_equal(np.stack(found.with_format("numpy")["embedding"]), expected)
    texts = embed_dataset(datasets.Dataset.from_dict({"text": ["rain", "a dog"]}), clap, "text", "vector")
    assert np.allclose(texts["vector"], clap.embed_text(["rain", "a dog"]), atol=1e-6)
    with pytest.raises(OptionError, match="column='audio' is not among the columns text, vector, vector_model"):
        embed_dataset(texts, clap)
    with pytest.raises(OptionError, match="no column embedding_model"):
        embed_dataset(texts.rename_column("vector", "embedding"), clap, "text")


def test_the_cache_of_datasets_keeps_models_apart(
    datasets: Any, bundle: Path, few: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from claprt.integrations import datasets as adapter
    from claprt.integrations.models import embed_mixed

    datasets.Dataset.from_dict({"path": few}).save_to_disk(tmp_path / "table")
    calls: list[int] = []
    monkeypatch.setattr(adapter, "embed_mixed", lambda clap, items: [calls.append(len(items)), embed_mixed(clap, items)][1])
    cases: list[tuple[dict[str, Any], int]] = [({}, 5), ({}, 5), ({"hop_s": 5.0}, 10), ({}, 10)]
    for options, computed in cases:
        adapter.embed_dataset(datasets.load_from_disk(tmp_path / "table"), bundle, "path", **options)
        assert sum(calls) == computed


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="needs claprt[ray]")
    pytest.importorskip("ray.data", reason="needs claprt[ray]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error", num_cpus=2)
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield ray
        ray.shutdown()


@pytest.mark.slow
def test_ray_data(ray: Any, copied: Path, clap: claprt.Clap, many: list[str], vectors: Embeddings,
                  replace_model: Callable[[], str]) -> None:  # fmt: skip
    from claprt.integrations.ray import ClapEmbedder

    sounds = ray.data.read_binary_files(str(Path(many[0]).parent), include_paths=True)

    def embedded() -> list[dict[str, Any]]:
        arguments = {"model": str(copied), "fingerprint": clap.fingerprint, "threads": 1}
        actors = ray.data.ActorPoolStrategy(size=1)
        return sounds.map_batches(ClapEmbedder, fn_constructor_kwargs=arguments, compute=actors, batch_size=50).take_all()

    rows = {row["path"]: row for row in embedded()}
    found = np.stack([rows[path]["embedding"] for path in many])
    assert np.allclose(found, vectors, atol=1e-6)
    assert {row["embedding_model"] for row in rows.values()} == {clap.fingerprint}

    other = replace_model()
    with pytest.raises(Exception, match=f"{clap.fingerprint}, and those of this model would be of {other}"):  # Ray's
        embedded()


def test_batches_of_ray_without_ray(clap: claprt.Clap, few: list[str]) -> None:
    from claprt.integrations.ray import ClapEmbedder

    batch = {"path": np.array(few, object), "number": np.arange(5)}
    found = ClapEmbedder(clap, column="path", output="vector")(batch)
    assert list(found) == ["path", "number", "vector", "vector_model"]
    assert np.array_equal(found["vector"], clap.embed_audio(few))
    with pytest.raises(OptionError, match="column='bytes' is not among the columns path, number"):
        ClapEmbedder(clap)(batch)


def test_daft(
    copied: Path, clap: claprt.Clap, many: list[str], nearest: list[str], vectors: Embeddings, tmp_path: Path,
    replace_model: Callable[[], str],
) -> None:  # fmt: skip
    daft = pytest.importorskip("daft", reason="needs Daft: make test WHAT=integrations")
    from claprt.integrations.daft import clap_embedder

    embed = clap_embedder(copied)
    table = daft.from_pydict({"path": [*many, None]})
    table = table.with_column("embedding", embed(table["path"]))
    assert table.schema()["embedding"].dtype == daft.DataType.embedding(daft.DataType.float32(), clap.dim)
    found = table.to_pydict()
    rows = dict(zip(found["path"], found["embedding"], strict=True))  # Daft gives batches as they are ready
    assert rows.pop(None) is None
    assert np.allclose(np.stack([rows[path] for path in many]), vectors, atol=1e-6)
    words = daft.from_pydict({"text": [QUERY]})
    (query,) = words.select(embed(words["text"]).alias("v")).to_pydict()["v"]
    assert [many[at] for at in np.argsort(-(vectors @ query))[:10]] == nearest

    contents = daft.from_pydict({"content": [Path(path).read_bytes() for path in many[:3]]})
    found = contents.select(embed(contents["content"]).alias("v")).to_pydict()["v"]
    assert np.allclose(np.stack(found), vectors[:3], atol=1e-6)

    other = replace_model()
    with pytest.raises(FingerprintError, match=clap.fingerprint) as refused:
        clap_embedder(copied, fingerprint=clap.fingerprint)
    assert other in str(refused.value)

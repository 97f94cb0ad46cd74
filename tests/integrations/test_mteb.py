"""mteb's own code runs the model, on tiny tasks that are made here, without a network."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.errors import EmptyAudioError, MissingDependencyError, OptionError
from claprt.integrations.mteb import ClapEncoder

NAMES = ("drums", "rain", "tone", "chirp")
SENTENCES = [f"the sound of {name}" for name in NAMES]

pytestmark = pytest.mark.filterwarnings("ignore")  # of mteb and of what it imports


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Sounds, one of them of more than a window and another rate."""
    folder = tmp_path_factory.mktemp("sounds")
    for name in NAMES:
        seconds, rate = (12, 22_050) if name == "drums" else (1, 48_000)
        soundfile.write(folder / f"{name}.wav", SOUNDS[name](seconds * rate, rate), rate)
    return [folder / f"{name}.wav" for name in NAMES]


@pytest.fixture(scope="module")
def mini() -> Iterator[claprt.Clap]:
    with claprt.load("mini") as model:
        yield model


@pytest.fixture(scope="module")
def mteb() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(action="ignore"):
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield pytest.importorskip("mteb", reason="needs mteb: pip install mteb")


def table(files: list[Path], *, embedded: bool = True, **columns: Any) -> Any:
    """A data set of Hugging Face with the column `audio`: contents of files, or their paths."""
    import datasets  # pyright: ignore[reportMissingImports]

    rows = [{"bytes": file.read_bytes() if embedded else None, "path": str(file)} for file in files]
    return datasets.Dataset.from_dict({"audio": rows, **columns}).cast_column("audio", datasets.Audio())


def metadata(mteb: Any, kind: str, score: str) -> Any:
    return mteb.TaskMetadata(
        name=f"Tiny{kind}", type=kind, main_score=score, description="Four sounds.", reference=None,
        dataset={"path": "none", "revision": "none"}, category="a2t" if "shot" in kind else "t2a",
        eval_splits=["test"], eval_langs=["eng-Latn"], modalities=["audio", "text"], date=None, domains=None,
        task_subtypes=None, license=None, annotations_creators=None, dialect=None, sample_creation=None, bibtex_citation="",
    )  # fmt: skip


def scores(mteb: Any, model: ClapEncoder, task: Any) -> dict[str, Any]:
    found = mteb.evaluate(model, tasks=task, cache=None, co2_tracker=False, show_progress_bar=False)
    assert not found.exceptions
    assert (found.model_name, found.model_revision) == ("claprt/mini", model.model.fingerprint.replace("/", "_"))
    return found.task_results[0].scores["test"][0]


def test_zero_shot(mteb: Any, mini: claprt.Clap, files: list[Path]) -> None:
    import datasets  # pyright: ignore[reportMissingImports]
    from mteb.abstasks.zeroshot_classification import (  # pyright: ignore[reportMissingImports]
        AbsTaskZeroShotClassification,
    )

    class Task(AbsTaskZeroShotClassification):  # pyright: ignore[reportUntypedBaseClass]
        metadata = metadata(mteb, "AudioZeroshotClassification", "accuracy")
        input_column_name = "audio"
        label_column_name = "label"

        def load_data(self, **_: Any) -> None:
            labels = [0, 1, 2, 2]  # the last is none of its classes
            self.dataset = datasets.DatasetDict({"test": table(files, label=labels)})
            self.data_loaded = True

        def get_candidate_labels(self) -> list[str]:
            return SENTENCES

    taken = (mini.embed_audio(files) @ mini.embed_text(SENTENCES).T).argmax(1)
    accuracy = np.mean(taken == [0, 1, 2, 2])
    assert scores(mteb, ClapEncoder(mini), Task())["accuracy"] == accuracy

    from benchmarks.maeb import main_scores, markdown

    found = main_scores(mini, [Task()], cache=None, co2_tracker=False)
    assert found == {"TinyAudioZeroshotClassification": accuracy}
    absent: dict[str, float | None] = {"TinyAudioZeroshotClassification": None}
    last = markdown({"fp32": found, "int8": absent}).splitlines()[-1]
    assert last == f"| TinyAudioZeroshotClassification | {accuracy:.4f} | – |"


def test_retrieval(mteb: Any, mini: claprt.Clap, files: list[Path]) -> None:
    import datasets  # pyright: ignore[reportMissingImports]
    from mteb.abstasks.retrieval import AbsTaskRetrieval  # pyright: ignore[reportMissingImports]

    class Task(AbsTaskRetrieval):  # pyright: ignore[reportUntypedBaseClass]
        metadata = metadata(mteb, "Any2AnyRetrieval", "ndcg_at_10")

        def load_data(self, **_: Any) -> None:
            queries = {"id": list(NAMES), "text": SENTENCES, "modality": ["text"] * 4}
            self.queries = datasets.DatasetDict({"test": datasets.Dataset.from_dict(queries)})
            self.corpus = datasets.DatasetDict({"test": table(files, embedded=False, id=[f"d-{name}" for name in NAMES])})
            self.relevant_docs = {"test": {name: {f"d-{name}": 1} for name in NAMES}}
            self.data_loaded = True

    cosines = mini.embed_text(SENTENCES) @ mini.embed_audio(files).T
    first = np.mean(cosines.argmax(1) == np.arange(4))
    assert scores(mteb, ClapEncoder(mini), Task())["hit_rate_at_1"] == pytest.approx(first, abs=1e-5)


def test_vectors_are_those_of_the_files(mteb: Any, mini: claprt.Clap, files: list[Path]) -> None:
    del mteb
    encoder = ClapEncoder(mini)
    audio, text = mini.embed_audio(files), mini.embed_text(SENTENCES)
    for embedded in (True, False):
        assert np.array_equal(encoder.encode(SimpleNamespace(dataset=table(files, embedded=embedded))), audio)
    both = SimpleNamespace(dataset=table(files, text=SENTENCES))
    assert np.array_equal(encoder.encode(both), audio + text)
    cosines = encoder.similarity(text, audio)
    assert np.allclose(cosines.numpy(), text @ audio.T, atol=1e-6)
    assert np.allclose(encoder.similarity_pairwise(text, audio).numpy(), np.diag(cosines.numpy()), atol=1e-6)


def test_samples_with_their_rate(mteb: Any, mini: claprt.Clap) -> None:
    del mteb
    import datasets  # pyright: ignore[reportMissingImports]

    samples = [SOUNDS[name](22_050, 22_050).astype(np.float64) for name in NAMES]  # as Arrow gives them
    rows = datasets.Dataset.from_dict({"audio": [{"array": one, "sampling_rate": 22_050} for one in samples]})
    found = ClapEncoder(mini).encode(SimpleNamespace(dataset=rows))
    assert np.array_equal(found, mini.embed_audio(samples, 22_050))


def test_data_that_cannot_be(mteb: Any, mini: claprt.Clap, tmp_path: Path) -> None:
    del mteb
    import datasets  # pyright: ignore[reportMissingImports]

    encoder = ClapEncoder(mini)
    with pytest.raises(OptionError, match="audio or text was expected; it has image"):
        encoder.encode(SimpleNamespace(dataset=datasets.Dataset.from_dict({"image": [1]})))
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 48_000)
    with pytest.raises(EmptyAudioError):
        encoder.encode(SimpleNamespace(dataset=table([tmp_path / "empty.wav"])))


def test_without_mteb(clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mteb", "mteb.models"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match="pip install mteb"):
        ClapEncoder(clap)


def test_what_is_no_model() -> None:
    with pytest.raises(OptionError, match=r"what claprt\.load returns; got str"):
        ClapEncoder("mini")  # type: ignore[arg-type]

"""The snippets of mlx-audio's page on CLAP, as written there but for their imports, claprt as ma and numpy as mx.

The page is `python/docs/models/clap.md` of zkeown/mlx-audio. Names that it uses without defining them are given here.
"""

# ruff: noqa: B905, T201 - the page is quoted as it is
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt as ma
from claprt.audio.synthetic import SOUNDS

RATE = 44_100
FILES = ("sound", "audio", "environmental_sound", "music", "audio1", "audio2", "audio3", "new_audio")


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the files that the page names, and the small model as the default."""
    kinds = list(SOUNDS.values())
    for number, name in enumerate(FILES):
        soundfile.write(tmp_path / f"{name}.wav", kinds[number % len(kinds)](2 * RATE, RATE), RATE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLAPRT_BUNDLE", str(Path(ma.__file__).parent / "mini"))


def test_quick_start() -> None:
    result = ma.classify("sound.wav", labels=["dog barking", "car horn", "music"])
    print(f"Detected: {result.predicted_class}")

    result = ma.embed(audio="audio.wav")
    assert result.audio_embedding is not None
    assert list(result.audio_embedding.shape) == [1, 512]


def test_embeddings() -> None:
    result = ma.embed(text="a dog barking loudly")
    assert result.text_embedding is not None
    assert result.text_embedding.shape == (1, 512)
    result = ma.embed(text=["dog barking", "cat meowing", "bird singing"])
    embeddings: Any = result.text_embedding
    assert embeddings.shape == (3, 512)


def test_similarity() -> None:
    result = ma.embed(
        audio="sound.wav",
        text=["dog barking", "car horn", "music playing"],
        return_similarity=True
    )  # fmt: skip
    assert result.similarity is not None
    assert result.similarity.shape == (1, 3)
    best_match = result.best_match()
    print(f"Audio sounds like: {best_match}")
    assert best_match in ("dog barking", "car horn", "music playing")


def test_classification(capsys: pytest.CaptureFixture[str]) -> None:
    result = ma.classify(
        "sound.wav",
        labels=["dog barking", "cat meowing", "bird singing"]
    )  # fmt: skip

    print(f"Predicted: {result.predicted_class}")
    print(f"Confidence: {result.confidence:.1%}")

    result = ma.classify(
        "environmental_sound.wav",
        labels=["traffic", "rain", "wind", "birds", "construction"],
        top_k=3
    )  # fmt: skip

    for label, prob in zip(result.top_k_classes, result.top_k_probs):
        print(f"{label}: {prob:.1%}")
    assert capsys.readouterr().out.count("%") == 4


def test_arrays() -> None:
    audio = np.random.randn(48000 * 5)  # 5 seconds

    result = ma.classify(
        audio,
        sample_rate=48000,
        labels=["speech", "music", "noise"]
    )  # fmt: skip
    assert result.predicted_class in ("speech", "music", "noise")


def test_tagging(capsys: pytest.CaptureFixture[str]) -> None:
    result = ma.tag(
        "music.wav",
        tags=["jazz", "piano", "upbeat", "slow", "vocals"]
    )  # fmt: skip

    print(f"Active tags: {result.active_tags}")

    tags = ["jazz", "piano"]
    more = ma.tag("music.wav", tags=tags, threshold=0.3)
    fewer = ma.tag("music.wav", tags=tags, threshold=0.7)
    assert set(fewer.active_tags) <= set(more.active_tags)

    result = ma.tag(
        "audio.wav",
        tags=["speech", "music", "noise", "silence"]
    )  # fmt: skip

    for tag, prob in zip(result.tags, result.probabilities):
        status = "Active" if prob > result.threshold else "Inactive"
        print(f"{tag}: {prob:.1%} ({status})")
    assert capsys.readouterr().out.count("ctive)") == 4


def test_search() -> None:
    import numpy as mx

    audio_files = ["audio1.wav", "audio2.wav", "audio3.wav"]
    embeddings: list[Any] = []

    for f in audio_files:
        result = ma.embed(audio=f)
        embeddings.append(result.audio_embedding)

    index = mx.concatenate(embeddings, axis=0)  # [N, 512]
    assert index.shape == (3, 512)

    query: Any = ma.embed(text="upbeat electronic music")
    similarities = query.text_embedding @ index.T  # [1, N]

    best_idx = int(mx.argmax(similarities))
    print(f"Best match: {audio_files[best_idx]}")


def test_clustering_and_classifiers() -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    from sklearn.cluster import KMeans
    from sklearn.linear_model import LogisticRegression

    audio_files = [f"{name}.wav" for name in FILES]
    embeddings: list[Any] = []
    for audio_file in audio_files:
        result: Any = ma.embed(audio=audio_file)
        embeddings.append(result.audio_embedding.numpy())

    X = np.vstack(embeddings)  # noqa: N806
    kmeans = KMeans(n_clusters=5)
    clusters = kmeans.fit_predict(X)
    assert len(clusters) == len(FILES)

    training_data = [(file, cluster % 2) for cluster, file in enumerate(audio_files)]
    X_train: list[Any] = []  # noqa: N806
    y_train: list[Any] = []

    for audio_file, label in training_data:
        result = ma.embed(audio=audio_file)
        X_train.append(result.audio_embedding.numpy().flatten())
        y_train.append(label)

    clf = LogisticRegression()
    clf.fit(X_train, y_train)

    result = ma.embed(audio="new_audio.wav")
    prediction: Any = clf.predict(result.audio_embedding.numpy())
    assert prediction.shape == (1,)


def test_results() -> None:
    result: Any = ma.embed(audio="audio.wav", text=["label1", "label2"])

    audio_emb = result.audio_embedding  # [1, 512] mx.array
    text_emb = result.text_embedding  # [2, 512] mx.array
    sim = result.similarity  # [1, 2] mx.array
    best = result.best_match()  # "label1" or "label2"
    numpy_emb = audio_emb.numpy()
    assert (audio_emb.shape, text_emb.shape, sim.shape) == ((1, 512), (2, 512), (1, 2))
    assert best in ("label1", "label2")
    assert type(numpy_emb) is np.ndarray

    labels = ["dog", "rain"]
    result = ma.classify("audio.wav", labels=labels)
    print(result.predicted_class)  # str
    print(result.confidence)  # float
    print(result.probabilities)  # mx.array [num_labels]
    print(result.class_names)  # list[str]
    print(result.top_k_classes)  # list[str]
    print(result.top_k_probs)  # list[float]

    tags = ["dog", "rain"]
    result = ma.tag("audio.wav", tags=tags)
    print(result.active_tags)  # list[str]
    print(result.tags)  # list[str]
    print(result.probabilities)  # list[float]
    print(result.threshold)  # float
    assert result.threshold == 0.5


def test_what_only_its_code_has() -> None:
    """`metadata` and the keys of `to_dict`; `tags` is all tags here, as on the page, where its code has the active ones."""
    found: Any = ma.classify("audio.wav", labels=["dog", "rain"])
    assert found.metadata["method"] == "zero_shot"
    assert found.to_dict()["class_names"] == ["dog", "rain"]
    found = ma.tag("audio.wav", tags=["dog", "rain"], threshold=1.0)
    assert found.metadata["method"] == "zero_shot"
    assert found.to_dict()["tag_names"] == list(found.tags) == list(found.tag_names) == ["dog", "rain"]
    assert found.to_dict()["top_5"] == found.top_k(5)
    assert found.active_tags == []
    assert ma.embed(text="rain").metadata["fingerprint"]

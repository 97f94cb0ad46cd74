"""`claprt.embed`, `claprt.similarity`, and what they give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.errors import EmptyAudioError, FingerprintError, OptionError, TextError
from claprt.scoring.classification import as_cosines, score_labels
from claprt.scoring.tagging import tag_embedding
from claprt.tasks import models
from claprt.tasks.joint_embedding import JointEmbedding, Vectors, unit_rows

RATE = 48_000
TEXTS = ["a tone", "drums", "rain"]


@pytest.fixture
def sound() -> Any:
    return SOUNDS["tone"](RATE, RATE)


def test_rows_for_one_and_for_many(clap: claprt.Clap, sound: Any) -> None:
    one = claprt.embed(audio=sound, text="a tone", model=clap)
    assert one.audio_embedding is not None
    assert one.text_embedding is not None
    assert one.similarity is not None
    assert one.audio_embedding.shape == one.text_embedding.shape == (1, 512)
    assert one.similarity.shape == (1, 1)
    many = claprt.embed([sound, SOUNDS["rain"](RATE, RATE)], TEXTS, model=clap)
    assert many.audio_embedding is not None
    assert np.allclose(many.audio_embedding, clap.embed_audio([sound, SOUNDS["rain"](RATE, RATE)]), atol=1e-6)
    assert np.allclose(many.text_embedding, clap.embed_text(TEXTS), atol=1e-6)  # pyright: ignore[reportArgumentType]
    assert many.similarity is not None
    assert np.allclose(many.similarity, clap.embed_audio(many_sounds(sound)) @ clap.embed_text(TEXTS).T, atol=1e-6)
    assert many.fingerprint == clap.fingerprint
    assert many.text_labels == tuple(TEXTS)


def many_sounds(sound: Any) -> list[Any]:
    return [sound, SOUNDS["rain"](RATE, RATE)]


def test_only_one_kind(clap: claprt.Clap, sound: Any) -> None:
    audio, text = claprt.embed(audio=sound, model=clap), claprt.embed(text=TEXTS, model=clap)
    assert (audio.text_embedding, audio.text_labels, audio.similarity) == (None, None, None)
    assert (text.audio_embedding, text.similarity) == (None, None)
    assert audio.audio_embeds is audio.audio_embedding is audio.vectors
    assert text.text_embeds is text.text_embedding is text.vectors
    assert audio.dimension == text.dimension == 512
    with pytest.raises(OptionError, match="needs sounds and texts"):
        audio.best_match()
    assert audio.cosine_similarity(audio) == pytest.approx(1, abs=1e-6)
    assert audio.cosine_similarity(text) == pytest.approx(float(audio.to_numpy()[0] @ text.to_numpy()[0]), abs=1e-6)
    with pytest.raises(FingerprintError, match="not comparable"):
        audio.cosine_similarity(JointEmbedding(audio_embedding=audio.audio_embedding, fingerprint="another"))


def test_no_sounds(clap: claprt.Clap) -> None:
    nothing = claprt.embed(audio=[], text=TEXTS, model=clap)
    assert nothing.similarity is not None
    assert nothing.similarity.shape == (0, 3)
    assert "audio [0, 512]" in repr(nothing)
    with pytest.raises(OptionError, match="there are 0 sounds"):
        nothing.best_match()


def test_the_best_match(clap: claprt.Clap, sound: Any) -> None:
    result = claprt.embed(many_sounds(sound), TEXTS, model=clap, return_similarity=True)
    assert result.similarity is not None
    order = np.argsort(-result.similarity, axis=1)
    assert result.best_match() == TEXTS[order[0, 0]]
    assert result.best_match(sound=1) == TEXTS[order[1, 0]]
    assert result.best_match(top_k=2) == [TEXTS[position] for position in order[0, :2]]
    assert len(result.best_match(top_k=9)) == 3
    for wrong in ({"top_k": 0}, {"sound": 2}, {"sound": -3}, {"top_k": 1.5}):
        with pytest.raises(OptionError):
            result.best_match(**wrong)  # pyright: ignore[reportArgumentType]
    assert repr(result.best_match()) in repr(result)


def test_numpy_is_there_and_shares_memory(clap: claprt.Clap, sound: Any) -> None:
    rows = claprt.embed(audio=sound, model=clap).audio_embedding
    assert isinstance(rows, Vectors)
    assert type(rows.numpy()) is np.ndarray
    assert np.shares_memory(rows.numpy(), rows)
    assert type(rows[0].numpy()) is np.ndarray  # pyright: ignore[reportAttributeAccessIssue]
    rows.numpy()[0, 0] = 7.0
    assert rows[0, 0] == 7.0


def test_to_dict_is_json(clap: claprt.Clap, sound: Any) -> None:
    result = claprt.embed(audio=sound, text=TEXTS, model=clap)
    plain = json.loads(json.dumps(result.to_dict()))
    assert np.allclose(plain["similarity"], result.similarity)  # pyright: ignore[reportArgumentType]
    assert plain["text_labels"] == TEXTS
    assert json.loads(json.dumps(claprt.embed(text="a", model=clap).to_dict()))["audio_embedding"] is None


def test_a_mean_that_is_not_brought_back_to_length_one(clap: claprt.Clap) -> None:
    long = np.concatenate([SOUNDS["tone"](10 * RATE, RATE), SOUNDS["rain"](10 * RATE, RATE)])
    bare = claprt.embed(audio=long, model=clap, normalize=False).to_numpy()
    unit = claprt.embed(audio=long, model=clap).to_numpy()
    assert np.linalg.norm(bare) < 0.999
    assert np.linalg.norm(unit) == pytest.approx(1, abs=1e-6)
    assert np.allclose(unit_rows(bare), unit, atol=1e-6)
    text = claprt.embed(audio=long, text="rain", model=clap, normalize=False)
    assert text.similarity is not None  # a cosine all the same
    assert text.similarity[0, 0] == pytest.approx(float(unit[0] @ clap.embed_text("rain")), abs=1e-6)


def test_refusals(clap: claprt.Clap, sound: Any) -> None:
    with pytest.raises(OptionError, match="nothing to embed"):
        claprt.embed(model=clap)
    with pytest.raises(OptionError, match="needs audio and text"):
        claprt.embed(audio=sound, return_similarity=True, model=clap)
    with pytest.raises(TextError):
        claprt.embed(text=["a", ""], model=clap)
    with pytest.raises(EmptyAudioError):
        claprt.embed(audio=[sound, np.empty(0)], model=clap)


def test_similarity_of_sounds(clap: claprt.Clap, sound: Any) -> None:
    other = SOUNDS["rain"](RATE, RATE)
    rows = clap.embed_audio([sound, other])
    found = claprt.similarity(sound, other, model=clap)
    assert isinstance(found, float)
    assert found == pytest.approx(float(rows[0] @ rows[1]), abs=1e-6)
    table = claprt.similarity([sound, other], [other], model=clap)
    assert np.allclose(table, rows @ rows[1:].T, atol=1e-6)
    with pytest.raises(OptionError, match="two sounds, or two lists"):
        claprt.similarity(sound, [other], model=clap)  # pyright: ignore[reportCallIssue, reportArgumentType]


def test_zeros_stay_zeros() -> None:
    assert np.array_equal(unit_rows(np.zeros((1, 3), np.float32)), np.zeros((1, 3)))


def test_a_model_by_its_folder_is_loaded_once(bundle: Path, sound: Any) -> None:

    claprt.embed(audio=sound, model=bundle)
    assert models.resolve_model(bundle) is models.resolve_model(str(bundle))


@pytest.mark.parametrize("scale", [1.000001, -1.000001])
def test_a_cosine_never_leaves_its_range(clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch, scale: float) -> None:
    """Vectors of length 1 have products that rounding leaves just outside."""
    row = np.full(512, 512**-0.5, np.float32)
    other = (row * np.float32(scale)).astype(np.float32)
    assert abs(float(row @ other)) > 1
    monkeypatch.setattr(type(clap), "embed_audio", lambda self, sources, *_: other if isinstance(sources, bytes) else row)
    expected = 1.0 if scale > 0 else -1.0
    assert claprt.similarity(b"other", "row", model=clap) == expected
    both = JointEmbedding(audio_embedding=other[None].view(Vectors), text_embedding=row[None].view(Vectors))
    assert np.abs(np.asarray(both.similarity)).max() <= 1
    assert abs(both.cosine_similarity(JointEmbedding(audio_embedding=row[None].view(Vectors)))) <= 1
    for found in score_labels(other, row[None], 100.0)[0], as_cosines(np.einsum("ad,bd->ab", row[None], other[None])):
        assert np.arccos(found).item() == pytest.approx(0 if scale > 0 else np.pi)
    tags = tag_embedding(clap.manifest, other, row[None], row[None], ("a",))
    assert tags.similarities[0] == expected


def test_similarity_of_a_sound_with_itself(clap: claprt.Clap) -> None:
    sounds = [make(RATE // 2, RATE) for make in SOUNDS.values()]
    cosines = claprt.similarity(sounds, sounds, model=clap, sample_rate=RATE)
    assert np.isfinite(np.arccos(np.asarray(cosines))).all()

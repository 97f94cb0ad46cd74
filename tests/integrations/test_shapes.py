"""The interfaces of sentence-transformers and fastembed, held against those libraries where they are installed."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.errors import AudioNotFoundError, OptionError, TextTypeError
from claprt.integrations.fastembed import AudioEmbedding, TextEmbedding
from claprt.integrations.sentence_transformers import ClapSentenceTransformer

TEXTS = ["a tone", "noise", "a low tone"]


@pytest.fixture
def encoder(clap: claprt.Clap) -> ClapSentenceTransformer:
    return ClapSentenceTransformer(clap)


def test_encode(clap: claprt.Clap, encoder: ClapSentenceTransformer, few: list[str]) -> None:
    texts, sounds = clap.embed_text(TEXTS), clap.embed_audio(few)
    assert np.allclose(encoder.encode(TEXTS), texts, atol=1e-6)
    assert np.allclose(encoder.encode([*TEXTS, *few]), np.vstack([texts, sounds]), atol=1e-6)
    for one, expected in ((TEXTS[0], texts[0]), (few[0], sounds[0]), (Path(few[0]), sounds[0])):
        assert np.allclose(encoder.encode(one), expected, atol=1e-6)
    samples = {"array": np.ones(480), "sampling_rate": 48_000}
    assert np.array_equal(encoder.encode([samples])[0], clap.embed_audio(samples))
    assert np.array_equal(encoder.encode(np.ones(480), sample_rate=24_000), clap.embed_audio(np.ones(480), 24_000))
    assert encoder.encode([]).shape == (0, clap.dim)
    assert np.array_equal(encoder.encode_query(TEXTS, batch_size=1), encoder.encode_document(TEXTS))


def test_prompts_are_for_texts(clap: claprt.Clap, encoder: ClapSentenceTransformer, few: list[str]) -> None:
    found = encoder.encode(["a dog", few[0]], prompt="The sound of ")
    assert np.allclose(found[0], clap.embed_text("The sound of a dog"), atol=1e-6)
    assert np.array_equal(found[1], clap.embed_audio(few[0]))


@pytest.mark.parametrize(
    "options", [{"prompt_name": "query"}, {"output_value": "token_embeddings"}, {"precision": "int8"}, {"truncate_dim": 64}]
)
def test_what_is_not_supported_is_refused(encoder: ClapSentenceTransformer, options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(OptionError, match=f"{name}={value!r} is not supported"):
        encoder.encode(TEXTS, **options)


def test_similarity(encoder: ClapSentenceTransformer, few: list[str]) -> None:
    texts, sounds = encoder.encode(TEXTS), encoder.encode(few)
    assert np.allclose(encoder.similarity(2 * texts, list(sounds)), texts @ sounds.T, atol=1e-6)
    assert np.allclose(encoder.similarity(texts[0], sounds), [texts[0] @ sounds.T], atol=1e-6)
    assert np.allclose(encoder.similarity_pairwise(texts, 3 * sounds[:3]), np.diag(texts @ sounds[:3].T), atol=1e-6)


def test_tensors(encoder: ClapSentenceTransformer) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    rows = encoder.encode(TEXTS)
    tensor = encoder.encode(TEXTS, convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor)
    assert np.array_equal(tensor.numpy(), rows)
    listed = encoder.encode(TEXTS, convert_to_numpy=False)
    assert isinstance(listed, list)
    assert all(isinstance(one, torch.Tensor) for one in listed)
    assert encoder.encode("a dog", convert_to_tensor=True).shape == (encoder.get_embedding_dimension(),)
    assert isinstance(encoder.similarity(tensor, rows), torch.Tensor)
    assert np.allclose(encoder.similarity(listed, rows).numpy(), rows @ rows.T, atol=1e-6)


@pytest.fixture(scope="module")
def sentence_transformers() -> Iterator[Any]:
    with warnings.catch_warnings(action="ignore"):  # of what it imports
        yield pytest.importorskip(
            "sentence_transformers", reason="needs sentence-transformers: pip install sentence-transformers"
        )


@pytest.mark.parametrize("name", ["encode", "encode_query", "encode_document"])
def test_arguments_are_those_of_sentence_transformers(sentence_transformers: Any, name: str) -> None:
    theirs = inspect.signature(getattr(sentence_transformers.SentenceTransformer, name)).parameters
    ours = inspect.signature(ClapSentenceTransformer.encode).parameters
    for position, (argument, ours_too) in enumerate(ours.items()):
        if argument != "sample_rate":
            assert list(theirs).index(argument) == position
            assert theirs[argument].default == ours_too.default
    assert set(theirs) - set(ours) <= {"pool", "chunk_size", "kwargs"}  # processes: not here


def test_sentence_transformers_own_tools(
    sentence_transformers: Any, encoder: ClapSentenceTransformer, few: list[str], clap: claprt.Clap
) -> None:
    from sentence_transformers import util  # pyright: ignore[reportMissingImports]
    from sentence_transformers.util import quantization  # pyright: ignore[reportMissingImports]

    hits = util.semantic_search(encoder.encode_query(TEXTS), encoder.encode_document(few), top_k=1)
    assert [hit[0]["corpus_id"] for hit in hits] == list((clap.embed_text(TEXTS) @ clap.embed_audio(few).T).argmax(1))
    rows = encoder.encode(TEXTS)
    for precision in ("binary", "ubinary"):
        theirs = quantization.quantize_embeddings(rows, precision)
        ours = encoder.encode(TEXTS, precision=precision)
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
    theirs = util.cos_sim(rows, encoder.encode(few))
    assert np.allclose(encoder.similarity(rows, encoder.encode(few)), theirs.numpy(), atol=1e-6)


def test_embed(clap: claprt.Clap, few: list[str]) -> None:
    sounds, texts = AudioEmbedding(clap), TextEmbedding(clap)
    assert np.array_equal(list(sounds.embed(few)), clap.embed_audio(few))
    assert np.array_equal(list(sounds.embed(few[0])), [clap.embed_audio(few[0])])
    assert np.array_equal(next(sounds.embed(np.ones(480), sample_rate=24_000)), clap.embed_audio(np.ones(480), 24_000))
    assert np.allclose(list(texts.embed(iter(TEXTS), batch_size=2)), clap.embed_text(TEXTS), atol=1e-6)
    assert np.array_equal(list(texts.query_embed(TEXTS[0])), [clap.embed_text(TEXTS[0])])
    assert np.array_equal(list(texts.passage_embed(TEXTS)), clap.embed_text(TEXTS))
    assert (sounds.embedding_size, sounds.model_name) == (clap.dim, "tiny")


def test_generators_do_not_wait_for_all(clap: claprt.Clap, few: list[str]) -> None:
    taken: list[str] = []

    def endless() -> Iterator[str]:
        while True:
            taken.append(few[0])
            yield few[0]

    found: Any = AudioEmbedding(clap).embed(endless())
    assert next(found).shape == (clap.dim,)
    found.close()
    assert len(taken) < 500


def test_what_cannot_be_embedded(clap: claprt.Clap, few: list[str]) -> None:
    found = AudioEmbedding(clap).embed([few[0], "nowhere.wav"])
    assert next(found).shape == (clap.dim,)
    with pytest.raises(AudioNotFoundError):
        next(found)
    for embedding, given in ((AudioEmbedding(clap), few), (TextEmbedding(clap), TEXTS)):
        with pytest.raises(OptionError, match="parallel=4: one process"):
            list(embedding.embed(given, parallel=4))
    with pytest.raises(OptionError, match="batch_size=0 is not possible"):
        list(TextEmbedding(clap).embed(TEXTS, batch_size=0))
    with pytest.raises(TextTypeError):
        list(TextEmbedding(clap).embed([3]))  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("kind", "ours"), [("ImageEmbedding", AudioEmbedding.embed), ("TextEmbedding", TextEmbedding.embed),
                       ("TextEmbedding", TextEmbedding.query_embed), ("TextEmbedding", TextEmbedding.passage_embed)],
)  # fmt: skip
def test_arguments_are_those_of_fastembed(kind: str, ours: Callable[..., Any]) -> None:
    fastembed = pytest.importorskip("fastembed", reason="needs fastembed: pip install fastembed")
    theirs = inspect.signature(getattr(getattr(fastembed, kind), ours.__name__)).parameters
    for (name, one), (name_here, here) in zip(
        list(theirs.items())[1:], list(inspect.signature(ours).parameters.items())[1:], strict=False
    ):
        if one.kind is not inspect.Parameter.VAR_KEYWORD:
            assert name_here == {"images": "sounds"}.get(name, name)
            assert here.default == one.default

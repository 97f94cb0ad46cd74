"""The room where mini is trained, on a training so small that it takes seconds."""

from __future__ import annotations

import csv
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch

import claprt
from claprt.audio.log_mel import log_mel
from claprt.audio.synthetic import SOUNDS
from claprt.bundle.manifest import MelSpec
from claprt_export.checkpoints.checkpoint import read_checkpoint
from claprt_export.checkpoints.variants import variant
from claprt_export.errors import ExportError
from claprt_export.graphs.tensorrt import objections
from claprt_export.mini import augment, dataset, model, sampler, text_finetuning, train
from claprt_export.mini.dataset import Store, make_store
from claprt_export.pipeline import export_bundle
from claprt_export.synthesis import captions
from claprt_export.synthesis.classes import KINDS, synthesise
from claprt_export.towers import AudioTower

RATE = 48_000
PLAN = sampler.Plan(
    phases=(sampler.Phase(bands=1, steps=2, batch=6), sampler.Phase(bands=4, steps=1, batch=2)),
    text_steps=2,
    extra_captions=4,
)


@pytest.fixture(scope="module")
def store_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Log-mels of a few sounds in the layout of ESC-10, of named ones, and of one short synthesised sound of each kind."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "esc10").mkdir()
    rows: list[dict[str, object]] = []
    for fold in range(1, 5):
        for label, name in (("dog", "drums"), ("sea_waves", "rain")):
            file = f"{fold}-{label}.flac"
            soundfile.write(folder / "esc10" / file, SOUNDS[name](RATE // 4 + fold, RATE), RATE)
            rows.append({"file": file, "fold": fold, "label": label})
    with (folder / "esc10" / "labels.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, ["file", "fold", "label"])
        writer.writeheader()
        writer.writerows(rows)
    (folder / "sonicpi").mkdir()
    for name in ("bd_boom", "drum_cowbell", "loop_amen"):
        soundfile.write(folder / "sonicpi" / f"{name}.flac", SOUNDS["drums"](RATE // 4, RATE), RATE)
    store = folder / "store.npz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "synthesise", partial(synthesise, seconds=1.0))
        make_store(store, esc10=folder / "esc10", berklee=None, sonicpi=folder / "sonicpi", synthesised=1, processes=1)
    return store


@pytest.fixture(scope="module")
def store(store_file: Path) -> Store:
    return dataset.read_store(store_file)


# sounds and words


@pytest.mark.parametrize("name", list(KINDS))
def test_every_kind_sounds(name: str) -> None:
    sound = synthesise(name, np.random.default_rng(3), 1.0)
    assert sound.shape == (RATE,)
    assert sound.dtype == np.float32
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() <= 1.2
    assert name == "silence" or np.abs(sound).max() > 0.01
    assert np.array_equal(sound, synthesise(name, np.random.default_rng(3), 1.0))
    assert not np.array_equal(sound, synthesise(name, np.random.default_rng(4), 1.0))


def test_order_of_classes_is_that_of_0_1_0() -> None:
    """Ranges of int8 are taken from texts in this order, so another one changes the graphs of the same checkpoint."""
    assert zlib.crc32(",".join(KINDS).encode()) == 1911371916


def test_held_out_words_are_not_trained_on() -> None:
    trained = {wording for kind in KINDS.values() for wording in kind.wordings}
    assert not trained & {wording for kind in KINDS.values() for wording in kind.held_out}
    assert all(len(kind.held_out) >= 2 for kind in KINDS.values())
    assert not set(captions.TEMPLATES) & set(captions.HELD_OUT_TEMPLATES)
    assert captions.DEFAULT_TEMPLATE in captions.TEMPLATES


def test_caption_holds_its_wording() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        assert "siren" in captions.caption(random, ["a siren", "the siren"]).lower()


def test_alike_names() -> None:
    assert captions.alike("metal lid drop", "metal lid")
    assert captions.alike("a squeak", "squeaks")
    assert not captions.alike("metal hit", "glass break")


def test_store(store: Store) -> None:
    concepts = {clip.concept for clip in store.clips}
    assert {"dog", "sea waves", "bass drum boom", "cowbell", *KINDS} == concepts - {"loop amen"}
    dog = next(clip for clip in store.clips if clip.concept == "dog" and clip.part == "3" and clip.speed == 1.0)
    sound = SOUNDS["drums"](RATE // 4 + 3, RATE)
    quantised = np.trunc(np.clip(np.round(sound * 2**15) / 2**15, -1, 1) * 32767) / 32767
    assert np.abs(store.of(dog).astype(float) - log_mel(quantised.astype(np.float32), MelSpec())).max() < 0.1
    speeds = sorted(clip.speed for clip in store.clips if clip.recording == dog.recording)
    assert speeds == sorted(dataset.SPEEDS)
    frames = {clip.speed: clip.frames for clip in store.clips if clip.recording == dog.recording}
    assert frames[0.84] > frames[1.0] > frames[1.19]


def test_what_is_held_out_is_not_used(store: Store) -> None:
    study = {(clip.source, clip.part) for clip in store.clips if sampler.used(clip, PLAN)}
    assert ("esc10", "4") not in study
    assert not {part for _, part in study} & {"seen", "unseen", "test"}
    everything = replace(PLAN, folds=("1", "2", "3", "4"), everything=True)
    shipped = {(clip.source, clip.part) for clip in store.clips if sampler.used(clip, everything)}
    assert ("esc10", "4") in shipped
    assert ("synthesised", "test") not in shipped


# variations


def test_fill_is_repeatpad() -> None:
    mel = np.arange(6.0).reshape(3, 2)
    filled = augment.filled(mel, 8)
    assert np.array_equal(filled[:6], np.tile(mel, (2, 1)))
    assert (filled[6:] == augment.FLOOR_DB).all()
    assert np.array_equal(augment.filled(mel, 2), mel[:2])


def test_variations_are_levels() -> None:
    random, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    mel = (random.standard_normal((300, 64)) * 5 - 30).astype(np.float32)
    batch = torch.from_numpy(np.stack([augment.cropped(random, mel, 257) for _ in range(16)]))
    assert batch.shape == (16, 257, 64)
    varied = augment.varied(batch, generator)
    assert torch.isfinite(varied).all()
    assert varied.min() >= augment.FLOOR_DB - 1e-3
    levels = (augment.loudness(varied) - augment.loudness(batch)).flatten()
    assert levels.std() > 3


def test_mixture_adds_powers() -> None:
    one, other = torch.full((2, 4, 3), -20.0), torch.full((2, 4, 3), -50.0)
    mixed = augment.mixed(one, other, torch.tensor([1.0, 0.5]))
    assert torch.equal(mixed[0], one[0])
    assert torch.allclose(mixed[1], one[1], atol=1e-3)  # brought to the same loudness, so half and half is the same


# the model


def testlengths_share_their_weights() -> None:
    mini = model.Mini(torch.full((64,), -40.0), torch.full((64,), 400.0))
    before = mini.embed_audio(torch.randn(1, 257, 64) * 10 - 40, 1)
    parameter = mini.audio.audio_branch.layers[0].get_parameter("blocks.0.attn.qkv.weight")
    with torch.no_grad():
        parameter.mul_(0)
    torch.manual_seed(0)
    assert before.shape == (1, 512)
    loss = mini.embed_audio(torch.randn(2, 513, 64) * 10 - 40, 2)[:, 0].sum()
    loss.backward()
    assert parameter.grad is not None
    assert parameter.grad.abs().max() > 0
    mini.load_state_dict(mini.state_dict() | {"audio.audio_branch.bn0.running_mean": torch.full((64,), -7.0)})
    for tower in mini.lengths.values():
        assert (tower.audio_branch.bn0.get_buffer("running_mean") == -7).all()


def test_a_short_image_is_the_beginning_of_the_long_one() -> None:
    """One band alone gives the patches that the first band of four gives."""
    torch.manual_seed(0)
    tall = AudioTower(model.AUDIO, frames=1024, bands=4)
    short = AudioTower(model.AUDIO, frames=256, bands=1)
    short.load_state_dict(tall.state_dict())
    image = torch.randn(1, 1, 1024, 64)
    whole = tall.audio_branch.patch_embed(image, None)
    part = short.audio_branch.patch_embed(image[:, :, :256], None)
    assert torch.equal(whole[: len(part)], part)


def test_loss_prefers_the_right_caption() -> None:
    relation = torch.tensor([[1.0, 0, -1], [0, 1, 0], [-1, 0, 1]])
    said, shares = torch.tensor([0, 1, 2]), torch.eye(3)[:2]
    vectors = torch.eye(3)
    right = train.contrastive(vectors[:2], vectors, shares, said, relation, torch.tensor(10.0))
    wrong = train.contrastive(vectors[[1, 0]], vectors, shares, said, relation, torch.tensor(10.0))
    assert right < 0.01
    assert wrong > 5
    # of a mixture, each caption gets its concept's share, however many captions the concept has
    mixture, many = torch.tensor([[0.6, 0.4, 0]]), torch.tensor([0, 0, 0, 1])
    logits = torch.log(torch.tensor([0.2, 0.2, 0.2, 0.4]))
    best = train.contrastive(logits[None], torch.eye(4), mixture, many, relation, torch.tensor(1.0))
    for other in (torch.tensor([0.25, 0.25, 0.25, 0.25]), torch.tensor([0.27, 0.27, 0.27, 0.19])):
        forward = 0.6 * -(torch.tensor([0.2, 0.2, 0.2, 0.4]) * torch.log(other)).sum()
        assert best < forward
    # the third caption is too alike to the first sound to count against it
    near = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 0, 0]])
    assert train.contrastive(vectors[:2], near, shares, said, relation, torch.tensor(10.0)) < 0.01


def test_rate_rises_and_falls() -> None:
    rates = [train.rate(step, 100, 10) for step in range(100)]
    assert rates[0] == 0.1
    assert max(rates) == rates[9] == rates[10] == 1
    assert rates[-1] < 0.02


def test_tokenizer_is_robertas_and_small() -> None:
    tokenizer = model.train_tokenizer(["a dog barking", "rain on a roof"] * 5)
    assert tokenizer.get_vocab_size(with_added_tokens=True) <= model.VOCABULARY
    ids = tokenizer.encode("a ♪ dog").ids
    assert (ids[0], ids[-1]) == (0, 2)
    assert tokenizer.decode(ids) == "a ♪ dog"


# the whole way


@pytest.fixture(scope="module")
def trained(store_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of three steps, its text tower trained two more, saved and exported."""
    folder = tmp_path_factory.mktemp("run")
    threads = torch.get_num_threads()
    train.train(store_file, folder, PLAN, 1)
    model.save_checkpoint(folder / "mini.pt", text_finetuning.retrain_text(store_file, folder, PLAN, sounds=32, batch=8))
    torch.set_num_threads(threads)
    return folder


def test_training_moves_the_weights(trained: Path, store: Store) -> None:
    state = torch.load(trained / "state.pt", weights_only=True)
    assert state["step"] == 3
    torch.manual_seed(PLAN.seed)
    fresh = model.Mini(*sampler.statistics(sampler.Supply(store, PLAN))).state_dict()
    assert fresh.keys() == state["averages"].keys()
    moved = {name for name, tensor in fresh.items() if not torch.equal(tensor, state["model"][name])}
    still = {name for name in fresh if "num_batches" in name or "running" in name or "position_embeddings" in name}
    assert fresh.keys() - moved <= still | {name for name in fresh if name.endswith(("word_embeddings.weight", "key.bias"))}


@pytest.mark.slow
def test_training_goes_on_where_it_stopped(trained: Path, store_file: Path, tmp_path: Path) -> None:
    """A run of three steps, stopped after the second, is the run of three steps (the tokenizer's dropout aside)."""
    (tmp_path / "tokenizer.json").write_bytes((trained / "tokenizer.json").read_bytes())
    short = replace(PLAN, phases=PLAN.phases[:1])
    threads = torch.get_num_threads()
    train.train(store_file, tmp_path, short, 1)
    stopped = torch.load(tmp_path / "state.pt", weights_only=True)
    assert stopped["step"] == 2
    train.train(store_file, tmp_path, PLAN, 1)
    torch.set_num_threads(threads)
    ended, whole = (torch.load(folder / "state.pt", weights_only=True) for folder in (tmp_path, trained))
    assert ended["step"] == 3
    name = "audio.audio_branch.layers.0.blocks.0.attn.qkv.weight"
    assert not torch.equal(ended["model"][name], stopped["model"][name])
    steps = [state["optimisers"][1]["state"][0]["step"].item() for state in (stopped, ended, whole)]
    assert steps == [2, 3, 3]
    train.train(store_file, tmp_path, PLAN, 1)  # nothing is left to do
    again = torch.load(tmp_path / "state.pt", weights_only=True)
    assert all(torch.equal(again["model"][name], tensor) for name, tensor in ended["model"].items())


def test_results_made_otherwise_are_refused(tmp_path: Path) -> None:
    dataset.claim(tmp_path / "a" / "plan.json", {"steps": 3})
    dataset.claim(tmp_path / "a" / "plan.json", {"steps": 3})
    with pytest.raises(ExportError, match="made otherwise"):
        dataset.claim(tmp_path / "a" / "plan.json", {"steps": 4})


def test_checkpoint_is_laions_layout(trained: Path) -> None:
    stored = torch.load(trained / "mini.pt", weights_only=True)["state_dict"]
    assert all(name.startswith("module.") for name in stored)
    checkpoint = read_checkpoint(trained / "mini.pt")
    assert checkpoint.half
    assert (checkpoint.audio, checkpoint.text) == (model.AUDIO, model.TEXT)


@pytest.mark.slow
def test_export_is_compact_and_exact(trained: Path, tmp_path: Path) -> None:
    # three steps of training leave vectors too alike for the gate, so the towers are held against the graphs directly
    from claprt_export.graphs.compress_constants import compact
    from claprt_export.graphs.to_onnx import audio_graph

    tower = read_checkpoint(trained / "mini.pt").audio_tower()
    plain = audio_graph(tower, 1001)
    small = compact(plain)
    assert len(small.SerializeToString()) < 0.6 * len(plain.SerializeToString())
    import onnxruntime

    mels = np.random.default_rng(0).standard_normal((2, 1, 1001, 64)).astype(np.float32) * 20 - 50
    results = []
    for number, graph in enumerate((plain, small)):
        onnx.save(graph, tmp_path / f"{number}.onnx")
        session = onnxruntime.InferenceSession(tmp_path / f"{number}.onnx", providers=["CPUExecutionProvider"])
        results.append(session.run(None, {"log_mels": mels})[0])
    assert np.array_equal(results[0], results[1])
    assert np.abs(results[0] - tower(torch.from_numpy(mels)).numpy()).max() < 1e-5


def test_the_shipped_graphs_suit_tensorrt() -> None:
    for name in ("log_mel", "audio.fp32", "text.fp32"):
        assert not objections(onnx.load(Path(claprt.__file__).parent / "mini" / f"{name}.onnx"))


@torch.inference_mode()
def test_the_shipped_bundle_gives_the_vectors_of_the_shipped_checkpoint() -> None:
    """Its towers in torch, which are what an export traces."""
    row = variant("mini")
    assert row.packaged is not None
    checkpoint, there = read_checkpoint(row.packaged, "mini"), claprt.load(Path(claprt.__file__).parent / "mini")
    assert there.manifest.source.sha256 == checkpoint.sha256
    sound = SOUNDS["drums"](RATE, RATE)
    (features,) = there.audio_features(sound, RATE)
    found = checkpoint.audio_tower()(torch.from_numpy(features.log_mels.copy())[None])
    assert np.abs(found.numpy() - there.embed_audio(sound)).max() < 1e-5
    ids = torch.tensor(there.tokenizer.encode(["a siren"]))
    found = checkpoint.text_tower()(ids, torch.ones_like(ids))
    assert np.abs(found.numpy() - there.embed_text("a siren")).max() < 1e-5


@pytest.mark.slow  # `make install-check` runs it for every change
def test_the_shipped_bundle_is_the_shipped_checkpoint(tmp_path: Path) -> None:
    manifest = export_bundle(tmp_path / "mini", name="mini")
    shipped = claprt.read_bundle(Path(claprt.__file__).parent / "mini").manifest
    assert manifest.name == shipped.name == "mini"
    assert manifest.source == shipped.source
    assert manifest.source.trained
    again, sound = claprt.load(tmp_path / "mini"), SOUNDS["drums"](RATE, RATE)
    there = claprt.load(Path(claprt.__file__).parent / "mini")
    assert np.abs(again.embed_audio(sound) - there.embed_audio(sound)).max() < 1e-6
    assert np.abs(again.embed_text("a siren") - there.embed_text("a siren")).max() < 1e-6

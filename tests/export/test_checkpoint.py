"""Checkpoints: read in every published layout, and refused, with the reason, when they are anything else."""

from __future__ import annotations

import json
import math
import pickle
import random
import re
import time
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from claprt.audio.log_mel import mel_filters
from claprt.bundle.manifest import MelSpec
from claprt_export.architecture import AudioArchitecture, TextArchitecture
from claprt_export.checkpoints import pickle_check
from claprt_export.checkpoints.checkpoint import Checkpoint, read_checkpoint
from claprt_export.checkpoints.state_dict import read_pickle
from claprt_export.checkpoints.weight_names import canonical
from claprt_export.errors import CheckpointError, CheckpointNotFoundError
from tests.export.conftest import SMALL_AUDIO, SMALL_FUSED, SMALL_TEXT, laion_state


def saved(content: Any, folder: Path) -> Path:
    path = folder / "checkpoint.pt"
    torch.save(content, path)
    return path


def same_weights(left: Checkpoint, right: Checkpoint) -> bool:
    names = set(left.audio_tower().state_dict()) | set(left.text_tower().state_dict())
    return all(
        torch.equal(left.weights[name], right.weights[name]) for name in names if not name.endswith("num_batches_tracked")
    )


def test_laion_layout(small: Checkpoint, laion_file: Path) -> None:
    found = read_checkpoint(laion_file)
    assert (found.name, found.layout) == ("small", "laion")
    assert (found.audio, found.text) == (SMALL_AUDIO, SMALL_TEXT)
    assert same_weights(small, found)
    assert found.mel.scale == "slaney"
    assert len(found.sha256) == 64


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state}])
def test_bare_and_wrapped_state_dicts(small: Checkpoint, tmp_path: Path, wrap: Any) -> None:
    assert same_weights(small, read_checkpoint(saved(wrap(small.weights), tmp_path)))


def test_fused_is_recognised(small_fused: Checkpoint, tmp_path: Path) -> None:
    found = read_checkpoint(saved(laion_state(small_fused), tmp_path))
    assert found.audio == SMALL_FUSED
    assert (found.mel.scale, found.mel.norm) == ("htk", "none")


def test_numpy_scalars_and_half_precision(small: Checkpoint, tmp_path: Path) -> None:
    """LAION's files hold numpy scalars; a checkpoint in half precision is widened."""
    extras = {"top_1": np.float64(0.9), "loss": np.float32(1.5), "step": np.int64(7), "done": np.bool_(True)}
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in laion_state(small).items()}
    found = read_checkpoint(saved({**extras, "optimizer": {"state": {0: {}}}, "state_dict": half}, tmp_path))
    assert found.weights["audio_projection.0.weight"].dtype == torch.float32


def test_old_torch_files(small: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save({"state_dict": laion_state(small)}, path, _use_new_zipfile_serialization=False)
    assert same_weights(small, read_checkpoint(path))


def test_logit_scales(small: Checkpoint, tmp_path: Path) -> None:
    state = {**laion_state(small), "module.logit_scale_a": torch.tensor(math.log(18.66))}
    found = read_checkpoint(saved(state, tmp_path))
    assert found.logit_scales == pytest.approx((18.66, 1 / 0.07), rel=1e-5)
    assert found.trained


def as_transformers(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The same weights under the names that `ClapModel` saves."""
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in checkpoint.weights.items():
        if name.startswith("audio_branch."):
            key = name.replace("audio_branch.", "audio_model.audio_encoder.")
            for old, new in (
                (".bn0.", ".batch_norm."), (".norm1.", ".layernorm_before."), (".norm2.", ".layernorm_after."),
                (".mlp.fc1.", ".intermediate.dense."), (".mlp.fc2.", ".output.dense."),
                (".attn.proj.", ".attention.output.dense."), (".attn.", ".attention.self."),
            ):  # fmt: skip
                key = key.replace(old, new)
            if ".qkv." in key:
                for part, rows in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                    renamed[key.replace("qkv", part)] = rows
                continue
        else:
            key = name.replace("text_branch.", "text_model.")
            key = key.replace("_projection.0.", "_projection.linear1.").replace("_projection.2.", "_projection.linear2.")
        renamed[key] = tensor
    return renamed


@pytest.fixture
def folder(small: Checkpoint, tmp_path: Path) -> Path:
    weights = {**as_transformers(small), "text_model.embeddings.position_ids": torch.arange(80)[None]}
    torch.save(weights, tmp_path / "pytorch_model.bin")
    text = {"num_attention_heads": 1, "layer_norm_eps": 1e-12, "hidden_act": "gelu"}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": text, "audio_config": {}}))
    return tmp_path


def test_transformers_layout(small: Checkpoint, folder: Path) -> None:
    found = read_checkpoint(folder)
    assert (found.layout, found.name) == ("transformers", folder.name)
    assert found.text.layer_norm_eps == 1e-12
    assert same_weights(small, found)
    assert same_weights(small, read_checkpoint(folder / "pytorch_model.bin"))


def test_safetensors(small: Checkpoint, folder: Path) -> None:
    import safetensors.torch

    safetensors.torch.save_file(
        {name: tensor.contiguous().clone() for name, tensor in as_transformers(small).items()}, folder / "model.safetensors"
    )
    (folder / "pytorch_model.bin").unlink()
    assert same_weights(small, read_checkpoint(folder))


def test_front_end_that_a_folder_states(folder: Path) -> None:
    stated = {"frequency_min": 0, "frequency_max": 14_000, "padding": "repeat", "feature_size": 64}
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))
    found = read_checkpoint(folder)
    assert (found.mel.f_min, found.fill) == (0, "repeat")


@pytest.mark.parametrize("fill", ["repeatpad", "repeat", "pad"])
def test_ranges_and_padding_that_a_folder_states(folder: Path, fill: str) -> None:
    stated = {"frequency_min": 20.5, "frequency_max": 20_000, "padding": fill, "fft_window_size": 1024, "hop_length": 480}
    stated |= {"sampling_rate": 48_000, "feature_size": 64, "max_length_s": 10, "top_db": None, "truncation": "rand_trunc"}
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))
    found = read_checkpoint(folder)
    assert found.mel == MelSpec(f_min=20.5, f_max=20_000)
    assert found.fill == fill


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        *(
            ("preprocessor_config.json", {key: value}, f"states {key} = {value!r}; this exporter knows .* only")
            for key, value in (
                ("sampling_rate", 44_100), ("sampling_rate", "48000"), ("fft_window_size", 2048), ("hop_length", 320),
                ("feature_size", 128), ("max_length_s", 7), ("max_length_s", None), ("top_db", 80),
            )
        ),
        ("preprocessor_config.json", {"frequency_min": "low"}, "no usable front end"),
        ("preprocessor_config.json", {"frequency_min": None}, "no usable front end"),
        ("preprocessor_config.json", {"frequency_min": 14_000}, "no usable front end"),
        ("preprocessor_config.json", {"padding": None}, "padding None"),
        ("preprocessor_config.json", {"frequency_max": 99_000}, "no usable front end"),
        ("preprocessor_config.json", {"padding": "mirror"}, "padding 'mirror'"),
        ("config.json", {"audio_config": {"hidden_act": "relu"}}, "audio_config.hidden_act = 'relu'"),
        ("config.json", {"text_config": {"projection_hidden_act": "gelu"}}, "text_config.projection_hidden_act"),
        ("config.json", {"text_config": [1]}, "shapes that no CLAP has"),
        *(
            ("config.json", {"text_config": {key: value}}, f"config.json states text_config.{key} = ")
            for key, value in (
                ("num_attention_heads", 0), ("num_attention_heads", "12"), ("num_attention_heads", 10**40),
                ("num_attention_heads", True), ("num_attention_heads", None), ("pad_token_id", -1),
                ("pad_token_id", 261), ("pad_token_id", 1.0), ("layer_norm_eps", -1), ("layer_norm_eps", "1e-5"),
                ("layer_norm_eps", math.nan), ("layer_norm_eps", 10**400),
            )
        ),
        ("config.json", {"audio_config": "tiny"}, "shapes that no CLAP has"),
    ],
)  # fmt: skip
def test_statements_that_are_not_known(folder: Path, file: str, content: Any, words: str) -> None:
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(folder)
    (folder / file).write_text("{")
    with pytest.raises(CheckpointError, match="is not JSON"):
        read_checkpoint(folder)


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", ["[" * 200_000, '{"a":' * 200_000 + "1" + "}" * 200_000])
def test_configurations_without_an_end(folder: Path, file: str, content: str) -> None:
    (folder / file).write_text(content)
    with pytest.raises(CheckpointError, match="nested deeper than any configuration"):
        read_checkpoint(folder)
    with (folder / file).open("r+b") as stream:
        stream.truncate(10**10)
    with pytest.raises(CheckpointError, match="has 10000000000 bytes, and a configuration has"):
        read_checkpoint(folder)


@pytest.mark.parametrize("scale", [float("nan"), 50.0, -50.0, -1e30])
def test_logit_scales_of_no_training(small: Checkpoint, tmp_path: Path, scale: float) -> None:
    state = {**laion_state(small), "module.logit_scale_t": torch.tensor(scale)}
    with pytest.raises(CheckpointError, match="logit scales that no training leaves"):
        _ = read_checkpoint(saved(state, tmp_path)).logit_scales


def changed(checkpoint: Checkpoint, **changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    state = {**checkpoint.weights, **{name.replace("__", "."): tensor for name, tensor in changes.items()}}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"audio_branch__norm__bias": None}, r"1 missing \(audio_branch.norm.bias\); 0 unexpected"),
        ({"logit_scale_a": None}, r"1 missing \(logit_scale_a\)"),
        ({"audio_branch__extra": torch.zeros(2)}, r"1 unexpected \(audio_branch.extra\)"),
        (
            {"audio_branch__norm__bias": torch.zeros(3)},
            r"1 of another shape \(audio_branch.norm.bias \(3,\), not \(256,\)\)",
        ),
        ({"audio_branch__logmel_extractor__melW": torch.ones(513, 64)}, "trained on another front end"),
        ({"audio_branch__patch_embed__proj__weight": torch.zeros(16, 4, 4, 4)}, "channel_map"),
        ({"text_branch__embeddings__token_type_embeddings__weight": torch.zeros(2, 64)}, "BERT"),
        ({"text_branch__shared__weight": torch.zeros(2)}, "BART"),
        ({"text_branch__resblocks__0": torch.zeros(2)}, "text tower is CLIP's"),
        ({"audio_branch__mel_conv1d__0__weight": torch.zeros(2)}, "aff_1d"),
        ({"audio_branch__patch_embed__fusion_model__local_att2__0__bias": torch.zeros(2)}, "iaff_2d"),
        ({"audio_branch__patch_embed__proj__weight": None}, "not a CLAP with HTSAT and RoBERTa"),
        ({"audio_branch__layers__0__blocks__0__attn__relative_position_bias_table": None}, "relative_position_bias_table"),
        ({"audio_branch__patch_embed__proj__weight": torch.zeros(3)}, "shapes that no CLAP has"),
        ({"audio_projection__2__weight": torch.zeros(())}, "shapes that no CLAP has"),
        ({"text_branch__embeddings__word_embeddings__weight": torch.zeros(261)}, "shapes that no CLAP has"),
        ({"logit_scale_a": torch.zeros(2)}, r"1 of another shape \(logit_scale_a \(2,\), not \(\)\)"),
    ],
)
def test_weights_that_do_not_fit(small: Checkpoint, tmp_path: Path, changes: Any, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(saved(changed(small, **changes), tmp_path))


def attention(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The constants of attention as LAION's code, which is Swin's, makes them, and others that follow from a size."""
    found: dict[str, torch.Tensor] = {}
    for stage, depth in enumerate(checkpoint.audio.depths):
        side, window = 64 // 2**stage, 8
        coordinates = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        relative = (coordinates[:, :, None] - coordinates[:, None, :]).permute(1, 2, 0) + window - 1
        regions = torch.zeros(side, side)
        slices = (slice(0, -window), slice(-window, -window // 2), slice(-window // 2, None))
        for number, (rows, columns) in enumerate((rows, columns) for rows in slices for columns in slices):
            regions[rows, columns] = number
        parts = (
            regions.view(side // window, window, side // window, window).permute(0, 2, 1, 3).reshape(-1, window * window)
        )
        mask = (parts[:, None] != parts[:, :, None]) * -100.0
        for block in range(depth):
            prefix = f"audio_branch.layers.{stage}.blocks.{block}"
            found[f"{prefix}.attn.relative_position_index"] = relative[..., 0] * (2 * window - 1) + relative[..., 1]
            if block % 2 and side > window:
                found[f"{prefix}.attn_mask"] = mask
    found["text_branch.embeddings.position_ids"] = torch.arange(80)[None]
    found["text_branch.embeddings.token_type_ids"] = torch.zeros(1, 80, dtype=torch.long)
    found["audio_branch.logmel_extractor.melW"] = torch.from_numpy(mel_filters(MelSpec()))
    basis = torch.fft.fft(torch.eye(1024, dtype=torch.float64))[:513] * torch.hann_window(1024, dtype=torch.float64)
    found["audio_branch.spectrogram_extractor.stft.conv_real.weight"] = basis.real[:, None].float()
    found["audio_branch.spectrogram_extractor.stft.conv_imag.weight"] = basis.imag[:, None].float()
    return found


@pytest.mark.parametrize("half", [False, True])
def test_constants_that_follow_from_the_architecture(small: Checkpoint, tmp_path: Path, half: bool) -> None:
    state = {**small.weights, **attention(small)}
    if half:
        state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
        del state["audio_branch.logmel_extractor.melW"]  # which float16 rounds
    assert read_checkpoint(saved(state, tmp_path)).audio == SMALL_AUDIO


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("layers.1.blocks.1.attn_mask", lambda mask: mask * 0, "an attention mask of its own"),
        ("layers.1.blocks.1.attn_mask", lambda mask: mask * 0.01, "an attention mask of its own"),
        ("layers.1.blocks.1.attn_mask", lambda mask: mask.flip(0), "an attention mask of its own"),
        ("layers.1.blocks.1.attn_mask", lambda mask: mask[:4], r"layers.1.blocks.1.attn_mask \(4, 64, 64\)"),
        ("layers.1.blocks.1.attn_mask", lambda mask: mask + float("nan"), "an attention mask of its own"),
        ("layers.0.blocks.0.attn_mask", lambda _: torch.full((64, 64, 64), -100.0), "an attention mask of its own"),
        ("layers.2.blocks.0.attn.relative_position_index", lambda index: index.T, "positions in its attention"),
        ("layers.3.blocks.0.attn.relative_position_index", lambda index: index + 1, "positions in its attention"),
        ("layers.0.blocks.0.attn.relative_position_index", lambda index: index[:49, :49], "positions in its attention"),
        ("spectrogram_extractor.stft.conv_real.weight", lambda basis: basis.flip(2).roll(3, 2), "front end: the transform"),
        ("spectrogram_extractor.stft.conv_imag.weight", lambda basis: basis[:, :, :512], "front end: the transform"),
        ("logmel_extractor.melW", lambda filters: filters * 2, "another front end: the mel filters"),
    ],
)  # fmt: skip
def test_constants_of_another_architecture(small: Checkpoint, tmp_path: Path, name: str, change: Any, words: str) -> None:
    """They are not taken from the file, so a tower with them would not be the one that was trained."""
    constants = attention(small)
    key = f"audio_branch.{name}"
    state = {**small.weights, **constants, key: change(constants.get(key)).contiguous()}
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(saved(state, tmp_path))


@pytest.mark.parametrize("name", ["position_ids", "token_type_ids"])
def test_positions_and_types_of_tokens(small: Checkpoint, tmp_path: Path, name: str) -> None:
    key = f"text_branch.embeddings.{name}"
    state = {**small.weights, key: attention(small)[key] + 1}
    with pytest.raises(CheckpointError, match=name):
        read_checkpoint(saved(state, tmp_path))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["audio_branch.conv_block1.conv1.weight"], "PANN"),
        (["audio_encoder.base.htsat.bn0.weight", "caption_encoder.base.x"], "Microsoft's CLAP"),
        (["visual.conv1.weight", "transformer.resblocks.0.ln_1.weight"], "CLIP of images"),
        (["encoder.layer.0.weight"], "not a CLAP with HTSAT and RoBERTa: it has no weight .*first names are encoder"),
    ],
)
def test_other_models_are_named(tmp_path: Path, names: list[str], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(saved({name: torch.zeros(1) for name in names}, tmp_path))


class _Runs:
    def __reduce__(self) -> Any:
        return (print, ("this must never be printed",))


def test_nothing_in_a_file_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved({"state_dict": {"x": torch.zeros(1)}, "extra": _Runs()}, tmp_path)
    with pytest.raises(CheckpointError, match="could run code"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(_Runs()))
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert "never" not in capsys.readouterr().out


def _word(text: str) -> bytes:
    content = text.encode()
    return b"X" + len(content).to_bytes(4, "little") + content


def _number(number: int) -> bytes:
    return b"\x8a\x08" + number.to_bytes(8, "little", signed=True)


def _storage(key: str, items: int) -> bytes:
    return b"(" + _word("storage") + b"ctorch\nFloatStorage\n" + _word(key) + _word("cpu") + _number(items) + b"tQ"


def _tensor(items: int, shape: int, stride: int = 1) -> bytes:
    """A tensor of a storage of some items, in protocol 2."""
    of = _number(shape) + b"\x85" + _number(stride) + b"\x85"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + _storage("0", items)
        + _number(0)
        + of
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def _numpy_scalar(dtype: str, state: bytes = b"") -> bytes:
    made = b"cnumpy\ndtype\n" + _word(dtype) + b"\x89\x88\x87R" + state
    return (
        b"cnumpy.core.multiarray\nscalar\n"
        + made
        + b"c_codecs\nencode\n"
        + _word("abcdefgh")
        + _word("latin1")
        + b"\x86R\x86R"
    )


_HUGE_STATE = b"(K\x03" + _word("<") + b"NNN" + _number(2_000_000_000) + _number(8) + b"K\x00tb"
BOMBS = {
    "bytearray": (b"cbuiltins\nbytearray\n" + _number(3_000_000_000) + b"\x85R", "run code: it names builtins.bytearray"),
    "bytearray of Python 2": (b"c__builtin__\nbytearray\n" + _number(3_000_000_000) + b"\x85R", "it names __builtin__"),
    "dtype": (_numpy_scalar("V2000000000"), "holds numbers of a type"),
    "dtype of a word": (_numpy_scalar("f8, (1000000000,)f8"), "holds numbers of a type"),
    "nothing called": (b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n", "it names torch._utils._rebuild_meta"),
    "storage": (_tensor(2_000_000_000, 1), "states more weights than its [0-9]+ bytes can hold"),
    "storage below nothing": (_tensor(-1, 1), "names weights otherwise"),
    "tensor": (_tensor(8, 2_000_000_000), "a tensor that is larger than the weights"),
    "spread tensor": (_tensor(8, 2_000_000_000, 0), "a tensor that is larger than the weights"),
    "far tensor": (_tensor(8, 2, 1_000_000), "a tensor that is larger than the weights"),
    "copies": (
        _word("a" * 500_000) + b"q\x00]" + (b"c_codecs\nencode\nh\x00" + _word("latin1") + b"\x86Ra") * 1_000,
        "copies its own parts over and over",
    ),
    "copies of a dict": (
        b"}q\x00(" + b"".join(_number(n) + b"N" for n in range(5_000)) + b"u]"
        + b"ccollections\nOrderedDict\nh\x00\x85Ra" * 2_000, "copies its own parts over and over",
    ),
    "nested": (b"]" * 20_000 + b"a" * 19_999, "nested more than 100 deep"),
    "nested marks": (b"(" * 100_000, "nested more than 100 deep"),
    "many": (b"]" * 3_000_000, "more than 2000000 instructions"),
    "a long word": (b"X\xff\xff\xff\xffabc", "expected 4294967295 bytes"),
    "unknown instruction": (b"\x8c\x01a\x93", "the instruction SHORT_BINUNICODE, which torch.save does not write"),
    "nothing on the stack": (b"R", "uses something that is not there"),
    "no mark": (b"]e", "uses something that is not there"),
    "nothing remembered": (b"h\x07", "uses something that is not there"),
}  # fmt: skip


# instructions are counted by the same code in both forms, which takes seconds
@pytest.mark.parametrize(
    ("name", "form"),
    [(name, form) for name in BOMBS for form in ("zip", "legacy") if name != "many"]
    + [pytest.param("many", "zip", marks=pytest.mark.slow)],
)
def test_files_that_ask_for_more_memory_than_they_have_bytes(tmp_path: Path, name: str, form: str) -> None:
    """Refused in a sentence, before it is taken: some hundred bytes could ask for gigabytes."""
    content, words = BOMBS[name]
    path = tmp_path / "bomb.pt"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", b"\x80\x02" + content + b".")
            archive.writestr("a/version", b"3\n")
            archive.writestr("a/data/0", bytes(32))
    else:
        head = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2), pickle.dumps({"little_endian": True}, 2)]
        path.write_bytes(b"".join(head) + b"\x80\x02" + content + b"." + pickle.dumps(["0"], 2) + bytes(40))
    tracemalloc.start()
    try:
        started = time.process_time()
        with pytest.raises(CheckpointError, match=words):
            read_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 200e6
        assert time.process_time() - started < 60
    finally:
        tracemalloc.stop()


def test_instructions_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are allowed, and one more; `many` has more than the true number."""
    monkeypatch.setattr(pickle_check, "_INSTRUCTIONS", 1_000)
    for lists in (998, 999):  # one instruction stands before them, and one behind
        with zipfile.ZipFile(tmp_path / f"{lists}.pt", "w") as archive:
            archive.writestr("a/data.pkl", b"\x80\x02" + b"]" * lists + b".")
    pickle_check.check_pickles(tmp_path / "998.pt")
    with pytest.raises(ValueError, match="more than 1000 instructions"):
        pickle_check.check_pickles(tmp_path / "999.pt")


def test_types_of_numpy_are_left_as_they_are(tmp_path: Path) -> None:
    """A pickle may hand a type a state that says how large it is."""
    path = tmp_path / "scalar.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + _numpy_scalar("f8", _HUGE_STATE) + b".")
        archive.writestr("a/version", b"3\n")
    found = read_pickle(path)
    assert found == np.frombuffer(b"abcdefgh", "<f8")[0]
    assert found.dtype.itemsize == 8


def test_compressed_and_ambiguous_archives(tmp_path: Path, laion_file: Path) -> None:
    """389 KB of a deflated pickle were 1.4 GB of objects."""
    members: list[tuple[str, bytes]] = []
    with zipfile.ZipFile(laion_file) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    path = tmp_path / "other.pt"

    def write(more: list[tuple[str, bytes]], compression: int, front: bytes = b"") -> Path:
        with path.open("wb") as stream:
            stream.write(front)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a second member of one name
            with zipfile.ZipFile(path, "a", compression) as archive:
                for name, content in [*members, *more]:
                    archive.writestr(name, content)
        return path

    with pytest.raises(CheckpointError, match="its zip archive is compressed, which torch.save never does"):
        read_checkpoint(write([], zipfile.ZIP_DEFLATED))
    first = members[0][0]
    for name in (first, first.upper()):
        with pytest.raises(CheckpointError, match="two members of one name"):
            read_checkpoint(write([(name, members[0][1])], zipfile.ZIP_STORED))
    with pytest.raises(CheckpointError, match="something in front of it"):
        read_checkpoint(write([], zipfile.ZIP_STORED, b"PK" + bytes(40)))
    with pytest.raises(CheckpointError, match="pickles of more than"):
        read_checkpoint(write([("a/more.pkl", bytes(40_000_000))], zipfile.ZIP_STORED))


@pytest.mark.parametrize("size", [5_000_000, 2**40, 2**64 - 1])
def test_safetensors_with_a_large_header(tmp_path: Path, size: int) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(size.to_bytes(8, "little") + b"{" + b" " * 100)
    with pytest.raises(CheckpointError, match=f"states a header of {size} bytes"):
        read_checkpoint(path)


def test_a_damaged_file_is_spoken_of_in_words(tmp_path: Path, laion_file: Path) -> None:
    """Not by a number that only torch knows the meaning of."""
    torch.save(
        {"state_dict": laion_state(read_checkpoint(laion_file))}, tmp_path / "old.pt", _use_new_zipfile_serialization=False
    )
    rolls = random.Random(5)
    for source in (laion_file, tmp_path / "old.pt"):
        whole = source.read_bytes()
        for _ in range(60):
            content = bytearray(whole)
            for _ in range(rolls.choice([1, 3, 20])):
                content[rolls.randrange(min(20_000, len(content)))] = rolls.randrange(256)
            path = tmp_path / "damaged.pt"
            path.write_bytes(content)
            try:
                read_checkpoint(path)
            except CheckpointError as error:
                said = str(error).replace(str(path), "FILE")
                assert len(re.findall("[a-z]{2,}", said)) > 8, said


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 a broken zip", pickle.dumps({"a": 1})])
def test_files_that_are_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    for name in ("broken.pt", "model.safetensors"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"is not loaded|is not a checkpoint|holds no state_dict|cannot be read"):
            read_checkpoint(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_any_cut_of_a_file(small: Checkpoint, tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "cut.pt"
    torch.save({"state_dict": laion_state(small)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for size in (1, 2, 4, 10, 30, 31, 100, 1_000, len(whole) // 2, len(whole) - 5_000, len(whole) - 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"not a whole one|is not loaded"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        [torch.zeros(2)], torch.zeros(3), "text", None, {}, {"epoch": 3, "name": "x"}, {"state_dict": {}},
        {"state_dict": [torch.zeros(2)]}, {"state_dict": {"a": None}}, {0: torch.zeros(2)},
        {"state_dict": {1: torch.zeros(2)}}, {"a": torch.zeros(2), "b": 3},
    ],
    ids=repr,
)  # fmt: skip
def test_pickles_that_hold_no_state_dict(tmp_path: Path, content: Any) -> None:
    with pytest.raises(CheckpointError, match="holds no state_dict of weights; it is not a CLAP checkpoint"):
        read_checkpoint(saved(content, tmp_path))


@pytest.mark.parametrize(
    "members",
    [{}, {"readme.txt": b"x"}, {"a/version": b"3"}, {"a/data.pkl": b"", "a/version": b"3"}, {"a/data.pkl": b"\x80\x02]."}],
    ids=lambda members: ", ".join(members) or "empty",
)
def test_zips_that_hold_no_checkpoint(tmp_path: Path, members: dict[str, bytes]) -> None:
    path = tmp_path / "checkpoint.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match=r"not a whole one|holds no state_dict"):
        read_checkpoint(path)


def test_logit_scales_beyond_any_number(small: Checkpoint, tmp_path: Path) -> None:
    state = {**laion_state(small), "module.logit_scale_a": torch.tensor(1e4)}
    with pytest.raises(CheckpointError, match="logit scales that no training leaves"):
        _ = read_checkpoint(saved(state, tmp_path)).logit_scales


def test_a_file_name_that_would_move_the_cursor(small: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[2J\nb.pt"
    torch.save(laion_state(small), path)
    assert read_checkpoint(path).name == "a\\x1b[2J\\nb"


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="no such file"):
        read_checkpoint(tmp_path / "none.pt")
    with pytest.raises(CheckpointNotFoundError, match=r"folder without model.safetensors or pytorch_model.bin"):
        read_checkpoint(tmp_path)


def test_names_of_the_published_sizes() -> None:
    heads = (4, 8, 16, 32)
    assert AudioArchitecture(embed_dim=96, depths=(2, 2, 6, 2), heads=heads).name == "HTSAT-tiny"
    assert AudioArchitecture(embed_dim=128, depths=(2, 2, 12, 2), heads=heads, fused=True).name == "HTSAT-base-fused"
    assert AudioArchitecture(embed_dim=256, depths=(2, 2, 12, 2), heads=heads).name == "HTSAT-large"
    assert AudioArchitecture(embed_dim=32, depths=(2, 2, 2, 2), heads=heads).name == "HTSAT-32x2-2-2-2"
    assert TextArchitecture().name == "RoBERTa-base"
    assert SMALL_TEXT.name == "RoBERTa-64x2"


def test_canonical_names_are_left_alone(small: Checkpoint) -> None:
    assert canonical(small.weights) is small.weights

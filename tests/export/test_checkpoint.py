"""Checkpoints: read in every published layout, and refused, with the reason, when they are anything else."""

from __future__ import annotations

import json
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from claprt.manifest import MelSpec
from claprt_export.architecture import AudioArchitecture, TextArchitecture
from claprt_export.checkpoint import Checkpoint, read_checkpoint
from claprt_export.errors import CheckpointError, CheckpointNotFoundError
from claprt_export.naming import canonical
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
            r"1 of another shape \(audio_branch.norm.bias \(3,\), not \(128,\)\)",
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

"""Names of published checkpoints, as people write them."""

from __future__ import annotations

import pytest

from claprt.bundle.published import published_name, similar_names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("laion/clap-htsat-fused", "clap-htsat-fused"),
        ("laion/clap-htsat-unfused", "clap-htsat-unfused"),
        ("laion/larger_clap_music", "larger_clap_music"),
        ("larger-clap-music-and-speech", "larger_clap_music_and_speech"),
        ("LAION/Larger_CLAP_General", "larger_clap_general"),
        ("https://huggingface.co/laion/clap-htsat-fused", "clap-htsat-fused"),
        ("https://huggingface.co/laion/clap-htsat-fused/tree/main", "clap-htsat-fused"),
        ("https:/huggingface.co/laion/clap-htsat-unfused/", "clap-htsat-unfused"),
        ("hf://laion/larger_clap_general", "larger_clap_general"),
        ("https://hf.co/lukewys/laion_clap/resolve/main/630k-audioset-best.pt?download=true", "630k-audioset-best"),
        ("https://huggingface.co/lukewys/laion_clap/blob/b3708341/music_speech_epoch_15_esc_89.25.pt",
         "music_speech_epoch_15_esc_89.25"),
        ("lukewys/laion_clap/music_audioset_epoch_15_esc_90.14.pt", "music_audioset_epoch_15_esc_90.14"),
        ("music_audioset_epoch_15_esc_90.14", "music_audioset_epoch_15_esc_90.14"),
        ("630k-audioset-fused-best.pt", "630k-audioset-fusion-best"),
        ("630k_audioset_best", "630k-audioset-best"),
        (" 630k-best ", "630k-best"),
        ("laion/clap-htsat-fused/model.safetensors", "clap-htsat-fused"),
    ],
)  # fmt: skip
def test_forms(text: str, name: str) -> None:
    assert published_name(text) == name


@pytest.mark.parametrize(
    "text",
    ["", "clap", "laion", "laion/clap", "./630k-best", "/630k-best", "models/630k-best.pt", "xenova/clap-htsat-fused"],
)
def test_what_is_no_name(text: str) -> None:
    assert published_name(text) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("laion/clap-htsat-fuse", "clap-htsat-fused"),
        ("630k-audioset", "630k-audioset-best"),
        ("xenova/clap-htsat-unfused", "clap-htsat-unfused"),
        ("music_audioset_epoch_15", "music_audioset_epoch_15_esc_90.14"),
        ("lager_clap_musik", "larger_clap_music"),
    ],
)
def test_similar(text: str, name: str) -> None:
    assert name in similar_names(text)


def test_nothing_is_similar() -> None:
    assert similar_names("whisper-large") == similar_names("") == []

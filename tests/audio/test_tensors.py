"""Tensors of torch, which is imported for them; they run beside other tests that need it."""

from __future__ import annotations

from typing import Any

import pytest

import claprt
from claprt.errors import AudioError, AudioTypeError
from tests.audio.test_sources import RATE, SHORT, SOUND, wav

torch: Any = pytest.importorskip("torch", reason="needs torch")


@pytest.mark.seconds
def test_tensors(clap: claprt.Clap) -> None:
    expected = clap.embed_audio(SOUND, RATE)
    tensor = torch.tensor(SOUND)
    kinds = [
        tensor, tensor.double(), tensor.half(), tensor.bfloat16(), tensor.clone().requires_grad_(), tensor[None],
        torch.nn.Parameter(tensor), torch.stack([tensor, tensor], 1)[:, 0], torch.tensor(SHORT), torch.tensor(SHORT).int(),
        tensor.bfloat16().requires_grad_(),
    ]  # fmt: skip
    for kind in kinds:
        assert clap.embed_audio(kind, RATE) @ expected > 0.999, kind.dtype
    assert clap.embed_audio([*kinds], RATE).shape == (len(kinds), 512)
    assert clap.embed_audio({"waveform": tensor[None, None], "sample_rate": RATE}) @ expected > 0.9999
    assert clap.embed_audio({"array": tensor, "sampling_rate": torch.tensor(RATE)}) @ expected > 0.9999
    assert clap.embed_audio((tensor[None], RATE)) @ expected > 0.9999
    for wrong, words in ((tensor > 0, "bool"), (tensor + 0j, "complex64"), (tensor.to_sparse(), "to_dense")):
        with pytest.raises(AudioError, match=words):
            clap.embed_audio(wrong, RATE)
    read = torch.frombuffer(bytearray(wav()), dtype=torch.uint8)
    with pytest.raises(AudioTypeError, match="bytes of a sound file"):
        clap.embed_audio(read)

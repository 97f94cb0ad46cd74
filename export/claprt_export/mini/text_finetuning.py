"""The words once more: the text tower trained against fixed vectors of sounds, cheap enough for very many wordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tokenizers
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from claprt_export.mini.dataset import read_store
from claprt_export.mini.model import Mini
from claprt_export.mini.sampler import Phase, Plan, Supply
from claprt_export.mini.train import Averages, contrastive, encoded, optimisers, rate
from claprt_export.synthesis.captions import caption
from claprt_export.synthesis.signals import Random


@torch.no_grad()
def _bank(model: Mini, supply: Supply, sounds: int, seed: int) -> tuple[Tensor, Tensor]:
    """Vectors of varied full-length sounds [sounds, 512] and the number of each one's concept [sounds]."""
    phase = Phase(bands=4, steps=1, batch=32)
    vectors: list[Tensor] = []
    numbers: list[Tensor] = []
    for number in tqdm(range(sounds // phase.batch), desc="bank of sounds", unit="batch", mininterval=5.0):
        images, shares, _, _ = supply.batch(np.random.default_rng([seed, 77, number]), phase)
        pure = shares.amax(1) > 0.99
        if pure.any():
            with torch.autocast("cpu", torch.bfloat16):
                vectors.append(model.embed_audio(images[pure], 4).float())
            numbers.append(shares[pure].argmax(1))
    return torch.cat(vectors), torch.cat(numbers)


def retrain_text(store_file: Path, folder: Path, plan: Plan, *, sounds: int = 9000, batch: int = 192) -> dict[str, Tensor]:
    """Train the text tower once more against fixed vectors of sounds, with many more wordings per step.

    Args:
        store_file: the log-mels that training used.
        folder: holds `tokenizer.json` and the weights of the first stage.
        plan: of the training.
        sounds: vectors of sounds to train against.
        batch: captions in a step.

    Returns:
        The averaged weights of both towers, name to tensor [...], ready for `save_checkpoint`.
    """
    torch.manual_seed(plan.seed + 1)
    supply = Supply(read_store(store_file), plan)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.model.dropout = 0.15
    model = Mini(torch.zeros(64), torch.ones(64))
    model.load_state_dict(torch.load(folder / "state.pt", weights_only=True)["averages"])
    bank, numbers = _bank(model, supply, sounds, plan.seed)
    model.audio.requires_grad_(False)
    averages = Averages({name: tensor.clone() for name, tensor in model.state_dict().items()}, plan.average)
    used_optimisers = optimisers(model, plan)
    concepts = len(supply.concepts)
    bar = tqdm(range(plan.text_steps), desc="words", unit="step", mininterval=5.0)
    for step in bar:
        random = np.random.default_rng([plan.seed, 99, step])
        for optimiser, full in zip(used_optimisers, (plan.muon_rate / 2, plan.adam_rate / 2), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = full * rate(step, plan.text_steps, plan.warm_up)
        said = torch.from_numpy(random.integers(concepts, size=batch))
        captions = [_shortened(random, caption(random, supply.store.wordings(supply.concepts[number]))) for number in said]
        heard = torch.from_numpy(random.integers(len(bank), size=2 * batch))
        text = model.embed_text(*encoded(tokenizer, captions))
        shares = F.one_hot(numbers[heard], concepts).float()
        told = shares[:, said].sum(1) > 0
        loss = contrastive(bank[heard][told], text, shares[told], said, supply.relation, model.scale)
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in used_optimisers:
            optimiser.step()
        averages.take(model, step + 1000)
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return averages.values


_PLAIN = frozenset(["a", "an", "the", "of", "is", "this", "that", "it", "i", "we", "one", "can", "be", "there", "in"])


def _shortened(random: Random, text: str) -> str:
    """A caption that sometimes lacks one of the words that carry no meaning."""
    words = text.split()
    plain = [position for position, word in enumerate(words) if word.lower() in _PLAIN]
    if plain and random.random() < 0.4:
        words.pop(plain[int(random.integers(len(plain)))])
    return " ".join(words)

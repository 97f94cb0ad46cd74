"""Training: symmetric contrastive loss with soft targets, on ever longer stretches of sound, then the words once more.

Two processes of one thread each train faster on two cores than one process of two threads; gradients are averaged, so the
number of processes is part of what a run gives. Every draw is made from (seed, process, step), so that a run that was
interrupted goes on as if it had not been; only the tokenizer's dropout draws from a source that cannot be seeded.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import tokenizers
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from claprt_export.mini.augment import filled
from claprt_export.mini.dataset import Clip, Store, read_store
from claprt_export.mini.model import LENGTHS, Mini, is_block_matrix, train_tokenizer
from claprt_export.mini.sampler import Plan, Supply, statistics
from claprt_export.synthesis.captions import DEFAULT_TEMPLATE, ESC10_WORDINGS, caption


def contrastive(audio: Tensor, text: Tensor, shares: Tensor, said: Tensor, relation: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy from sounds to captions and back, positives shared among all captions of the same concept.

    Args:
        audio: [sounds, dim].
        text: [captions, dim].
        shares: [sounds, concepts], what each sound is a mixture of.
        said: [captions], the concept of each caption. A concept's share is spread over its captions.
        relation: [concepts, concepts] as in `Supply`.
        scale: that cosines are multiplied with.
    """
    logits = scale * audio @ text.T
    positive = shares[:, said] / torch.bincount(said, minlength=shares.shape[1])[said]
    unfair = ((shares @ (relation < 0).float())[:, said] > 0) & (positive == 0)
    logits = logits.masked_fill(unfair, -1e4)
    forward = -(positive / positive.sum(1, keepdim=True) * F.log_softmax(logits, 1)).sum(1).mean()
    heard = shares[:, said]
    told = heard.sum(0) > 0.5
    backward = (heard / heard.sum(0).clamp_min(1e-6) * F.log_softmax(logits, 0)).sum(0)
    return 0.6 * forward - 0.4 * backward[told].mean()


def encoded(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids and mask [texts, tokens]."""
    rows = [encoding.ids[:77] for encoding in tokenizer.encode_batch(list(texts))]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [1] * (longest - len(row)) for row in rows])
    return ids, (ids != 1).long()


def optimisers(model: Mini, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for everything else."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    inside = [parameter for name, parameter in named if is_block_matrix(name, parameter)]
    decayed = [parameter for name, parameter in named if not is_block_matrix(name, parameter) and parameter.ndim > 1]
    others = [parameter for _, parameter in named if parameter.ndim < 2]
    return [
        torch.optim.Muon(inside, lr=plan.muon_rate, weight_decay=plan.weight_decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=plan.adam_rate,
            betas=(0.9, 0.98),
        ),
    ]


def rate(step: int, steps: int, warm_up: int) -> float:
    """Share of the full learning rate: a linear rise, then a cosine down to a hundredth."""
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


@dataclass(slots=True)
class Averages:
    """Running means of weights."""

    values: dict[str, Tensor]
    share: float

    @torch.no_grad()
    def take(self, model: torch.nn.Module, step: int) -> None:
        """Move the means towards the model's weights; faster at the beginning."""
        share = min(self.share, (1 + step) / (10 + step))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.values[name].lerp_(tensor, 1 - share)


def _average_gradients(model: torch.nn.Module, processes: int) -> None:
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= processes
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _run(rank: int, processes: int, port: int, store_file: str, folder: str, plan: Plan) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    if processes > 1:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=processes)
    supply = Supply(read_store(Path(store_file)), plan)
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.model.dropout = 0.1
    torch.manual_seed(plan.seed)
    model = Mini(*statistics(supply))
    averages = Averages({name: tensor.clone() for name, tensor in model.state_dict().items()}, plan.average)
    used_optimisers = optimisers(model, plan)
    state_file = Path(folder) / "state.pt"
    begin = 0
    if state_file.is_file():
        state = torch.load(state_file, weights_only=True)
        begin = state["step"]
        model.load_state_dict(state["model"])
        averages.values = state["averages"]
        for optimiser, saved in zip(used_optimisers, state.get("optimisers", ()), strict="optimisers" in state):
            optimiser.load_state_dict(saved)
    bar = tqdm(range(begin, plan.steps), initial=begin, total=plan.steps, disable=rank > 0, unit="step", mininterval=5.0)
    for step in bar:
        phase = plan.phase(step)
        images, shares, captions, said = supply.batch(np.random.default_rng([plan.seed, rank, step]), phase)
        for optimiser, full in zip(used_optimisers, (plan.muon_rate, plan.adam_rate), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = full * rate(step, plan.steps, plan.warm_up)
        with torch.autocast("cpu", torch.bfloat16):
            audio = model.embed_audio(images, phase.bands).float()
            text = model.embed_text(*encoded(tokenizer, captions)).float()
        loss = contrastive(audio, text, shares, said, supply.relation, model.scale)
        model.zero_grad()
        loss.backward()
        if processes > 1:
            _average_gradients(model, processes)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in used_optimisers:
            optimiser.step()
        averages.take(model, step)
        if rank == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", scale=f"{model.scale.item():.1f}", refresh=False)
            if (step + 1) % 200 == 0 or step + 1 == plan.steps:
                _save(state_file, step + 1, model, averages, used_optimisers)
                bar.write(f"step {step + 1}: loss {loss.item():.3f}, fold 4 {fold_4(averages, supply, tokenizer):.3f}")
    if processes > 1:
        dist.destroy_process_group()


def _save(file: Path, step: int, model: Mini, averages: Averages, used_optimisers: Sequence[torch.optim.Optimizer]) -> None:
    part = file.with_suffix(".part")
    states = [optimiser.state_dict() for optimiser in used_optimisers]
    torch.save({"step": step, "model": model.state_dict(), "averages": averages.values, "optimisers": states}, part)
    part.replace(file)


@torch.no_grad()
def vectors_of(model: Mini, store: Store, clips: Sequence[Clip], batch: int = 16) -> Tensor:
    """Unit vectors [clips, 512] of clips at full length.

    Args:
        model: the towers.
        store: holds the clips' log-mels.
        clips: which clips.
        batch: clips in a run.
    """
    images = [torch.from_numpy(filled(store.of(clip), LENGTHS[4]).astype(np.float32)) for clip in clips]
    return torch.cat([model.embed_audio(torch.stack(images[at : at + batch]), 4) for at in range(0, len(images), batch)])


@torch.no_grad()
def fold_4(averages: Averages, supply: Supply, tokenizer: tokenizers.Tokenizer) -> float:
    """Zero-shot accuracy on ESC-10's fold 4, with the averaged weights."""
    store = supply.store
    model = Mini(torch.zeros(64), torch.ones(64))
    model.load_state_dict(averages.values)
    clips = [clip for clip in store.clips if clip.source == "esc10" and clip.part == "4" and clip.speed == 1.0]
    if not clips:
        return float("nan")
    labels = list(ESC10_WORDINGS)
    model_of = tokenizer.model
    kept, model_of.dropout = model_of.dropout, None
    text = model.embed_text(*encoded(tokenizer, [DEFAULT_TEMPLATE.format(label) for label in labels]))
    model_of.dropout = kept
    said = (vectors_of(model, store, clips) @ text.T).argmax(1)
    return float(np.mean([labels[int(number)] == clip.concept for number, clip in zip(said, clips, strict=True)]))


def every_wording(store: Store, concepts: Sequence[str], seed: int = 0) -> list[str]:
    """A corpus for the tokenizer: captions of all concepts."""
    random = np.random.default_rng(seed)
    return [caption(random, store.wordings(concept)) for concept in concepts for _ in range(40)]


def train(store_file: Path, folder: Path, plan: Plan, processes: int) -> None:
    """Train, or resume an interrupted run; leaves `tokenizer.json` and `state.pt` in the folder.

    Args:
        store_file: log-mels of the training clips.
        folder: of the run.
        plan: steps, rates and augmentation.
        processes: that prepare batches.
    """
    folder.mkdir(parents=True, exist_ok=True)
    supply = Supply(read_store(store_file), plan)
    if not (folder / "tokenizer.json").is_file():
        train_tokenizer(every_wording(supply.store, supply.concepts)).save(str(folder / "tokenizer.json"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (processes, port, str(store_file), str(folder), plan)
    if processes == 1:
        _run(0, *arguments)
    else:
        cast("Any", torch.multiprocessing).spawn(_run, arguments, nprocs=processes)

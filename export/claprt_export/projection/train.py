"""Training a projection by triplets, as QDHF does (Ding et al. 2023, "Quality Diversity through Human Feedback").

What is near in the embedding (or what people call alike) shall be nearer among the descriptors than what is far: a hinge on
the difference of two distances. That alone does not fill the space, since nothing in it minds whether descriptors sit in
the corners or in a heap, and an archive has cells everywhere. So a second term asks that along each axis the descriptors of
a batch are spread evenly from 0 to 1, and that no two axes say the same; docs/projection.md has what each of them does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from claprt.bundle.digests import sha256_of
from claprt.errors import OptionError
from claprt_export.atomic import new_file
from claprt_export.errors import ExportError
from claprt_export.projection.coverage import Use, use_of
from claprt_export.projection.graph import write_graph
from claprt_export.projection.network import ProjectionConfig, ProjectionNetwork, StoredProjection, looks_untrained
from claprt_export.projection.training_data import Material
from claprt_export.projection.triplets import Triplets


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to train."""

    epochs: int = 60
    triplets: int = 10_000
    """Drawn for each epoch."""
    batch: int = 256
    rate: float = 1e-3
    margin: float = 0.2
    """By how much the far sound shall be further away than the near one; the diagonal of six descriptors is 2.4."""
    spread: float = 0.5
    """Weight of the term that spreads descriptors; 0 for the triplets alone."""
    patience: int = 10
    """Epochs without a better one after which training ends."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "triplets", "batch", "patience"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}={getattr(self, name)} is not possible; give 1 or more.")
        if not (self.seed >= 0 and 0 < self.rate < inf and 0 < self.margin < inf and 0 <= self.spread < inf):
            raise OptionError("seed and spread must be at least 0, rate and margin more than 0, and all of them finite.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The best epoch's network, and how it came about."""

    network: ProjectionNetwork
    checkpoint: dict[str, Any]
    """What `torch.save` writes, in the layout of kromosynth-evaluate."""
    untrained_accuracy: float
    """Share of the held-out triplets that came out right before the first epoch."""
    accuracy: float
    best_epoch: int
    """From 1."""
    use: Use
    """What the descriptors of the sounds that were held out use of their space."""


def train_projection(
    material: Material,
    triplets: Triplets,
    config: ProjectionConfig,
    plan: Plan,
    report: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Train on one thread of the CPU; the same seed gives the same network on the same machine.

    Args:
        material: the sounds. The network's `input_dim` is theirs.
        triplets: what to train on and what to judge by.
        config: sizes of the network.
        plan: how to train.
        report: is told of every epoch.

    Raises:
        OptionError: `config` is for embeddings of another size.
        ExportError: the loss was never a number, or the weights have hardly left where they began.
    """
    if config.input_dim != material.embeddings.shape[1]:
        raise OptionError(
            f"input_dim={config.input_dim} does not fit embeddings of {material.embeddings.shape[1]} numbers."
        )
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        return _Run(material, triplets, ProjectionNetwork(config), plan).run(report)


@contextmanager
def _one_thread() -> Generator[None]:
    """So small a network gains nothing from more, loses much where others want them too, and would sum in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Run:
    def __init__(self, material: Material, triplets: Triplets, network: ProjectionNetwork, plan: Plan) -> None:
        self._plan, self._triplets, self._network = plan, triplets, network
        self._embeddings = torch.from_numpy(material.embeddings)
        self._optimiser = torch.optim.Adam(network.parameters(), lr=plan.rate)
        self._random = np.random.default_rng([plan.seed, 0])

    def run(self, report: Callable[[str], None]) -> Trained:
        history: dict[str, Any] = {"train_loss": [], "val_loss": [], "val_accuracy": [], "epochs": 0}
        lowest, untrained = self._judged()
        report(f"untrained: held-out loss {lowest:.4f}, accuracy {100 * untrained:.1f} %")
        best, best_epoch, lowest = self._state(), 0, inf
        for epoch in range(1, self._plan.epochs + 1):
            loss = self._epoch()
            held_out, accuracy = self._judged()
            history["train_loss"].append(loss)
            history["val_loss"].append(held_out)
            history["val_accuracy"].append(accuracy)
            history["epochs"] = epoch
            better = held_out < lowest
            if better:
                best, best_epoch, lowest = self._state(), epoch, held_out
            report(
                f"epoch {epoch:3}: loss {loss:.4f}, held-out loss {held_out:.4f}, accuracy {100 * accuracy:.1f} %"
                f"{' *' if better else ''}"
            )
            if epoch - best_epoch >= self._plan.patience:
                break
        if not best_epoch:
            raise ExportError(
                f"Training gave NaN from the first epoch on: rate={self._plan.rate:g} is too much. Take less."
            )
        return self._trained(best, best_epoch, history, untrained)

    def _trained(self, best: tuple[Any, Any], best_epoch: int, history: dict[str, Any], untrained: float) -> Trained:
        weights, optimiser = best
        self._network.load_state_dict(weights)
        network = self._network.eval().requires_grad_(False)
        if why := looks_untrained(network):
            raise ExportError(
                f"Training has hardly begun in {history['epochs']} epochs: {why}. Give it more triplets or epochs."
            )
        config = network.config
        sizes = ("input_dim", "hidden_dim", "output_dim", "num_hidden_layers", "dropout")
        with torch.inference_mode():
            held_out = network(self._embeddings[self._triplets.sounds]).numpy()
        return Trained(
            network=network,
            checkpoint={
                "model_state_dict": weights,
                "optimizer_state_dict": optimiser,
                "history": history,
                "config": {**{name: getattr(config, name) for name in sizes}, "margin": self._plan.margin},
            },
            untrained_accuracy=untrained,
            accuracy=history["val_accuracy"][best_epoch - 1],
            best_epoch=best_epoch,
            use=use_of(held_out),
        )

    def _state(self) -> tuple[Any, Any]:
        return copy.deepcopy(self._network.state_dict()), copy.deepcopy(self._optimiser.state_dict())

    def _epoch(self) -> float:
        self._network.train()
        drawn = self._triplets.draw(self._plan.triplets, self._random)
        total = 0.0
        for start in range(0, len(drawn), self._plan.batch):
            batch = drawn[start : start + self._plan.batch]
            loss = self._loss(self._network(self._embeddings[batch]))[0]
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
            total += loss.item() * len(batch)
        return total / len(drawn)

    @torch.inference_mode()
    def _judged(self) -> tuple[float, float]:
        """Loss, and share of the triplets that come out right, on what was held out."""
        self._network.eval()
        loss, right = self._loss(self._network(self._embeddings)[self._triplets.held_out])
        return loss.item(), right.item()

    def _loss(self, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """Of descriptors [triplets, 3, d] of anchors, positives and negatives."""
        anchor, positive, negative = descriptors.unbind(dim=1)
        nearer, further = F.pairwise_distance(anchor, positive), F.pairwise_distance(anchor, negative)
        loss = F.relu(nearer - further + self._plan.margin).mean()
        if self._plan.spread:
            loss = loss + self._plan.spread * unevenness(anchor)
        return loss, (nearer < further).float().mean()


def unevenness(descriptors: Tensor) -> Tensor:
    """How far descriptors [batch, d] are from being spread evenly over [0, 1], each axis saying something of its own.

    Along each axis the squared distance from the quantiles of an even spread, which is 1 for a heap in the middle and for
    two heaps at the ends; and the squared correlation between axes, 1 where they say the same.
    """
    count, axes = descriptors.shape
    even = (torch.arange(count, dtype=descriptors.dtype) + 0.5) / count
    apart = 12 * (descriptors.sort(dim=0).values - even[:, None]).square().mean()
    if axes == 1 or count < 2:
        return apart
    centred = descriptors - descriptors.mean(dim=0)
    scaled = centred / centred.square().mean(dim=0).add(1e-6).sqrt()
    correlations = scaled.T @ scaled / count
    others = correlations.square().sum() - correlations.diagonal().square().sum()
    return apart + others / (axes * (axes - 1))


def save_trained(trained: Trained, out: Path) -> StoredProjection:
    """Write the checkpoint where kromosynth's service and `claprt-export projection` read it, and its graph beside it.

    Raises:
        OutputError: one of the two cannot be written.
        ParityError: the graph does not compute what the network does; nothing is written then.
    """
    graph = out.with_suffix(".onnx")
    with new_file(out) as checkpoint_file, new_file(graph) as graph_file:
        torch.save(trained.checkpoint, checkpoint_file)
        stored = StoredProjection(name=out.name, sha256=sha256_of(checkpoint_file), network=trained.network)
        write_graph(stored, graph_file, graph.name)
    return stored

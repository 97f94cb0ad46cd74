"""The towers against plainly written ones, and the index arithmetic under them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claprt.audio.windows import resize_time
from claprt_export.checkpoints.checkpoint import Checkpoint
from claprt_export.checkpoints.random_weights import seeded_checkpoint
from claprt_export.towers import AudioTower, TextTower, freeze, window_order
from claprt_export.towers.audio import Stage, SwinBlock, WindowAttention, resize_matrix
from tests.export.conftest import SMALL_AUDIO, SMALL_TEXT

# order


@pytest.mark.parametrize(("side", "window"), [(4, 2), (8, 8), (16, 8), (64, 8)])
def test_window_order_lists_each_window_whole(side: int, window: int) -> None:
    listed = window_order.window_order((side, side), window)
    assert sorted(listed) == list(range(side * side))
    for part in listed.reshape(-1, window, window):
        rows, columns = np.divmod(part, side)
        assert np.ptp(rows) == np.ptp(columns) == window - 1
        assert (np.diff(columns, axis=1) == 1).all()


@pytest.mark.parametrize(("side", "window", "shift"), [(8, 4, 2), (16, 8, 4), (64, 8, 4)])
def test_shift_is_a_roll(side: int, window: int, shift: int) -> None:
    image = np.random.default_rng(0).random((side, side))
    windowed = image.reshape(-1)[window_order.window_order((side, side), window)]
    rolled = np.roll(image, (-shift, -shift), axis=(0, 1)).reshape(-1)[window_order.window_order((side, side), window)]
    gathered = windowed[window_order.shift_order((side, side), window)]
    assert np.array_equal(gathered, rolled)
    assert np.array_equal(gathered[np.argsort(window_order.shift_order((side, side), window))], windowed)


def test_mask_lets_only_neighbours_see_each_other() -> None:
    side, window = 16, 8
    mask = window_order.shift_mask((side, side), window)
    place = np.arange(side * side)[window_order.window_order((side, side), window)][
        window_order.shift_order((side, side), window)
    ]
    rows, columns = np.divmod(place.reshape(-1, window * window), side)
    for tokens in range(len(mask)):
        apart = np.maximum(np.abs(rows[tokens][:, None] - rows[tokens]), np.abs(columns[tokens][:, None] - columns[tokens]))
        assert np.array_equal(mask[tokens] == 0, apart < window)
    assert set(np.unique(mask)) == {0, window_order.MASKED_SCORE}
    assert np.exp(np.float32(window_order.MASKED_SCORE)) == 0


def test_merging_joins_neighbours() -> None:
    side, window = 16, 8
    tokens = np.arange(side * side)[window_order.window_order((side, side), window)]
    joined = tokens[window_order.merge_order((side, side), window)].reshape(-1, 4)
    rows, columns = np.divmod(joined, side)
    assert (rows - rows[:, :1] == [0, 1, 0, 1]).all()
    assert (columns - columns[:, :1] == [0, 0, 1, 1]).all()
    half = np.arange(64).reshape(8, 8).reshape(-1)[window_order.window_order((8, 8), 8)]
    assert np.array_equal(rows[:, 0] // 2 * 8 + columns[:, 0] // 2, half)


def test_shorter_grids_are_the_upper_part_of_the_square() -> None:
    tall, short, window = (16, 16), (8, 16), 8
    assert window_order.window_order(short, window).tolist() == window_order.window_order(tall, window)[:128].tolist()
    assert window_order.shift_of(short, window) == (0, 4)
    rolled = np.roll(np.arange(128).reshape(short), -4, axis=1).reshape(-1)[window_order.window_order(short, window)]
    assert np.array_equal(window_order.window_order(short, window)[window_order.shift_order(short, window)], rolled)
    low = window_order.relative_position_index(8, (4, 8))
    assert np.array_equal(low, window_order.relative_position_index(8)[:32, :32])


def test_relative_position_index_is_swins() -> None:
    window = 4
    coordinates = np.stack(np.meshgrid(np.arange(window), np.arange(window), indexing="ij")).reshape(2, -1)
    relative = coordinates[:, :, None] - coordinates[:, None, :] + window - 1
    assert np.array_equal(window_order.relative_position_index(window), relative[0] * (2 * window - 1) + relative[1])


# the audio tower against the same arithmetic in row order


class Plain:
    """HTSAT as its authors describe it: images, rolls, partitions, one window at a time."""

    def __init__(self, tower: AudioTower) -> None:
        self.branch, self.tower = tower.audio_branch, tower

    def __call__(self, log_mels: Tensor) -> Tensor:
        branch, architecture = self.branch, self.tower.architecture
        x = branch.bn0(log_mels.transpose(1, 3)).transpose(1, 3)
        x = F.interpolate(x, (1024, 64), mode="bicubic", align_corners=True)
        x = torch.cat(x.transpose(2, 3).split(256, dim=3), dim=2)
        embed = branch.patch_embed
        x = embed.norm(embed.proj(x).permute(0, 2, 3, 1))
        for stage in branch.layers:
            assert isinstance(stage, Stage)
            side = x.shape[1]
            for index, block in enumerate(stage.blocks):
                assert isinstance(block, SwinBlock)
                shift = 4 if index % 2 and side > architecture.window else 0
                x = self.block(block, x, shift)
            if stage.downsample is not None:
                merge = stage.downsample
                parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
                x = merge.reduction(merge.norm(torch.cat(parts, -1)))
        pooled = branch.norm(x).flatten(1, 2).mean(1)
        return F.normalize(self.tower.audio_projection(pooled), dim=-1)

    def block(self, block: SwinBlock, x: Tensor, shift: int) -> Tensor:
        attention = block.attn
        side, window = x.shape[1], 8
        y = torch.roll(block.norm1(x), (-shift, -shift), (1, 2))
        out = torch.empty_like(y)
        region = torch.zeros(side, dtype=torch.long)
        if shift:
            region[side - window :] = 1
            region[side - shift :] = 2
        region = region[:, None] * 3 + region[None]
        for top in range(0, side, window):
            for left in range(0, side, window):
                patch = y[:, top : top + window, left : left + window].flatten(1, 2)
                labels = region[top : top + window, left : left + window].flatten()
                out[:, top : top + window, left : left + window] = self.attend(attention, patch, labels).unflatten(
                    1, (window, window)
                )
        x = x + torch.roll(out, (shift, shift), (1, 2))
        return x + block.mlp(block.norm2(x))

    @staticmethod
    def attend(attention: WindowAttention, x: Tensor, labels: Tensor) -> Tensor:
        heads, size = attention.heads, x.shape[-1] // attention.heads
        query, key, value = attention.qkv(x).unflatten(-1, (3, heads, size)).permute(2, 0, 3, 1, 4)
        index = torch.from_numpy(window_order.relative_position_index(8))
        scores = query @ key.transpose(-2, -1) / size**0.5 + attention.relative_position_bias_table[index].permute(2, 0, 1)
        scores = scores.masked_fill(labels[:, None] != labels[None], -100.0)
        return attention.proj((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))


@torch.no_grad()
def test_audio_tower_is_htsat(small: Checkpoint) -> None:
    tower = AudioTower(SMALL_AUDIO).eval()
    tower.load_state_dict({name: small.weights[name] for name in tower.state_dict()})
    log_mels = torch.randn(2, 1, 1001, 64) * 15 - 30
    expected = Plain(tower)(log_mels)
    assert (tower(log_mels) - expected).abs().max() < 1e-6
    freeze(tower)
    assert (tower(log_mels) - expected).abs().max() < 1e-6


@torch.no_grad()
def test_fused_tower_uses_local_views_of_long_clips_only(small_fused: Checkpoint) -> None:
    tower = small_fused.audio_tower()
    views = torch.randn(2, 4, 1001, 64) * 15 - 30
    other = views.clone()
    other[:, 1:] = other[:, 1:].flip(2)
    marks = torch.tensor([[True], [False]])
    first, second = tower(views, marks), tower(other, marks)
    assert not torch.allclose(first[0], second[0], atol=1e-4)
    assert torch.equal(first[1], second[1])
    assert not torch.allclose(tower(views, ~marks)[0], first[0], atol=1e-4)


@torch.no_grad()
def test_towers_do_not_mix_a_batch(small: Checkpoint) -> None:
    audio, text = small.audio_tower(), small.text_tower()
    log_mels = torch.randn(5, 1, 1001, 64) * 15 - 30
    alone = torch.cat([audio(row[None]) for row in log_mels])
    assert (audio(log_mels) - alone).abs().max() < 1e-6
    ids = torch.randint(4, 261, (3, 20))
    mask = torch.ones_like(ids)
    padded = F.pad(ids[:, :9], (0, 30), value=1)
    longer = F.pad(mask[:, :9], (0, 30), value=0)
    assert (text(padded, longer) - text(ids[:, :9], mask[:, :9])).abs().max() < 1e-6
    assert not torch.allclose(text(ids, mask)[0], text(ids.flip(1), mask)[0], atol=1e-3)


def test_freezing_changes_nothing_and_training_goes_on_without_it() -> None:
    torch.manual_seed(0)
    tower: nn.Module = TextTower(SMALL_TEXT)
    ids = torch.randint(4, 261, (2, 7))
    tower(ids, torch.ones_like(ids)).sum().backward()
    assert all(parameter.grad is not None for parameter in tower.parameters())
    before = tower.eval()(ids, torch.ones_like(ids)).detach()
    names = set(tower.state_dict())
    frozen = freeze(copy.deepcopy(tower))
    assert (frozen(ids, torch.ones_like(ids)) - before).abs().max() < 1e-6
    assert set(frozen.state_dict()) == names
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_resize_matrix_is_the_bicubic_resize() -> None:
    image = torch.randn(2, 1, 1001, 64)
    expected = F.interpolate(image, (1024, 64), mode="bicubic", align_corners=True)
    assert (resize_matrix(1001, 1024) @ image - expected).abs().max() < 1e-5
    with torch.inference_mode():
        assert not resize_matrix(999, 1024).is_inference()  # which could not be trained with


@pytest.mark.parametrize("total", [1002, 1003, 1500, 2002, 5001])
@pytest.mark.parametrize("antialias", [True, False])
def test_shrink_is_torchs(total: int, antialias: bool) -> None:
    mel = torch.randn(total, 64) * 15 - 30
    expected = F.interpolate(mel[None, None], (1001, 64), mode="bilinear", align_corners=False, antialias=antialias)
    difference = np.abs(resize_time(mel.numpy(), 1001, antialias=antialias) - expected[0, 0].numpy())
    # torch fuses multiplications into additions in places, which moves a position by a last bit: here on neighbours that
    # differ by up to 100 dB
    assert difference.max() < 5e-3
    assert np.median(difference) < 1e-5


def test_seeds() -> None:
    first, again, other = (seeded_checkpoint("x", SMALL_AUDIO, SMALL_TEXT, seed=seed) for seed in (1, 1, 2))
    assert first.sha256 == again.sha256 != other.sha256
    assert not first.trained

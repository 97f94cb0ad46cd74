"""RoBERTa as an export-friendly torch module: token ids in, unit vectors out.

Parameters carry the names of LAION's checkpoints. Any number of tokens is taken and padding does not change a vector,
so a nine-token label is never paid for as seventy-seven.

Reference: `RobertaModel` of transformers with its pooler, as laion-clap 1.1.7 uses it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claprt_export.architecture import TextArchitecture
from claprt_export.towers.audio import projection
from claprt_export.towers.folding import QKV, Folding, query_key_value
from claprt_export.towers.window_order import MASKED_SCORE


class Embeddings(nn.Module):
    """Word, position and token-type embeddings; positions count from `pad_token_id` + 1 and skip padding."""

    def __init__(self, a: TextArchitecture) -> None:
        super().__init__()
        self.pad_token_id, self.width = a.pad_token_id, a.width
        self.word_embeddings = nn.Embedding(a.vocabulary, a.width)
        self.position_embeddings = nn.Embedding(a.positions, a.width)
        self.token_type_embeddings = nn.Embedding(1, a.width)
        self.LayerNorm = nn.LayerNorm(a.width, eps=a.layer_norm_eps)

    def forward(self, token_ids: Tensor) -> Tensor:
        """[batch, tokens] to [batch · tokens, width]; reshaped before the normalisation for the reason in `SwinBlock`."""
        # summed in float32, exact for any number of positions, because TensorRT has no integer CumSum
        real = token_ids.ne(self.pad_token_id).to(torch.float32)
        positions = (real.cumsum(1) * real).long() + self.pad_token_id
        x = self.word_embeddings(token_ids) + self.token_type_embeddings.weight[0] + self.position_embeddings(positions)
        return self.LayerNorm(x.view(-1, self.width))


class SelfAttention(Folding):
    """Multi-head attention over all tokens of a text."""

    folded_names = QKV

    def __init__(self, a: TextArchitecture) -> None:
        super().__init__()
        self.heads, self.width = a.heads, a.width
        self.query = nn.Linear(a.width, a.width)
        self.key = nn.Linear(a.width, a.width)
        self.value = nn.Linear(a.width, a.width)

    def fold(self) -> tuple[Tensor, ...]:
        """Weights [out, in] and biases [out], with the scale of attention folded into the query."""
        layers = (self.query, self.key, self.value)
        scale = (self.width // self.heads) ** -0.5
        return query_key_value([layer.weight for layer in layers], [layer.bias for layer in layers], scale)

    def forward(self, x: Tensor, scores: Tensor, shape: Tensor) -> Tensor:
        """[batch · tokens, width] to the same; `shape` is any tensor [batch, tokens]."""
        batch, tokens = shape.shape
        weights_and_biases = self.folded()
        query, key, value = (
            F.linear(x, weight, bias).view(batch, tokens, self.heads, self.width // self.heads)
            for weight, bias in zip(weights_and_biases[:3], weights_and_biases[3:], strict=True)
        )
        query, key, value = query.transpose(1, 2), key.permute(0, 2, 3, 1), value.transpose(1, 2)
        attention = torch.softmax(query @ key + scores, dim=-1)
        return (attention @ value).transpose(1, 2).reshape(-1, self.width)


class DenseNorm(nn.Module):
    """A linear layer, the residual, and a normalisation after both (post-norm)."""

    def __init__(self, inputs: int, a: TextArchitecture) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, a.width)
        self.LayerNorm = nn.LayerNorm(a.width, eps=a.layer_norm_eps)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """[batch · tokens, inputs] and [batch · tokens, width] to the latter."""
        return self.LayerNorm(self.dense(x) + residual)


class Layer(nn.Module):
    """One transformer layer. The containers only reproduce the names of the checkpoint."""

    def __init__(self, a: TextArchitecture) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": SelfAttention(a), "output": DenseNorm(a.width, a)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(a.width, a.hidden)})
        self.output = DenseNorm(a.hidden, a)

    def forward(self, x: Tensor, scores: Tensor, shape: Tensor) -> Tensor:
        """[batch · tokens, width] to the same."""
        x = self.attention["output"](self.attention["self"](x, scores, shape), x)
        return self.output(F.gelu(self.intermediate["dense"](x)), x)


class TextBranch(nn.Module):
    """RoBERTa with its pooler: token ids and mask [batch, tokens] to [batch, width]."""

    def __init__(self, a: TextArchitecture) -> None:
        super().__init__()
        self.embeddings = Embeddings(a)
        layers = nn.ModuleList(Layer(a) for _ in range(a.layers))
        self.encoder = nn.ModuleDict({"layer": layers})
        self.pooler = nn.ModuleDict({"dense": nn.Linear(a.width, a.width)})
        self.width = a.width

    def forward(self, token_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The pooled state of the first token, before projection."""
        scores = (1 - attention_mask[:, None, None, :].to(torch.float32)) * MASKED_SCORE
        x = self.embeddings(token_ids)
        for layer in self.encoder["layer"].children():
            x = layer(x, scores, token_ids)
        batch, tokens = token_ids.shape
        first = x.view(batch, tokens, self.width)[:, 0]
        return torch.tanh(self.pooler["dense"](first))


class TextTower(nn.Module):
    """Token ids and attention mask [batch, tokens] (int64, 1 for a real token) to unit vectors [batch, joint_dim]."""

    def __init__(self, architecture: TextArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.text_branch = TextBranch(architecture)
        self.text_projection = projection(architecture.width, architecture.joint_dim)

    def forward(self, token_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The unit vectors."""
        return F.normalize(self.text_projection(self.text_branch(token_ids, attention_mask)), dim=-1)

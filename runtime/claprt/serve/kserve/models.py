"""Models of the protocol: those of the Triton repository that take texts and files, with the same names and tensors.

`clap_audio`, `log_mel` and the towers take what is computed on the way there, which this service computes itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from claprt._version import __version__
from claprt.arrays import Array
from claprt.bundle.graphs import Stage
from claprt.scoring.classification import score_labels
from claprt.scoring.labels import validate_labels
from claprt.serve.base64_audio import Base64Error
from claprt.serve.errors import NotFoundError, ShapeError
from claprt.serve.kserve.tensors import Elements
from claprt.serve.limits import check_count
from claprt.serve.scheduling.audio_input import AudioInput, Encoding
from claprt.serve.scheduling.models import Models
from claprt.serve.scheduling.service import Service

MODEL_VERSION = "1"
Inputs = Mapping[str, Elements]
_TEXT, _AUDIO, _LABELS, _RATE = "text", "audio", "labels", "sample_rate"
_TYPES = {_TEXT: "BYTES", _AUDIO: "BYTES", _LABELS: "BYTES", _RATE: "INT32"}
_OPTIONAL = frozenset({_RATE})
_TEXTS = frozenset({_TEXT, _LABELS})


@dataclass(frozen=True, slots=True)
class Model:
    """A model: its tensors, and what computes them."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, bool], ...]
    """Names, and whether a row has the length of an embedding, not one number for each label."""
    infer: Callable[[Service, Inputs], Awaitable[Mapping[str, Array]]]

    @property
    def towers(self) -> frozenset[Stage]:
        """Towers that it needs."""
        of_inputs = {_TEXT: Stage.TEXT, _LABELS: Stage.TEXT, _AUDIO: Stage.AUDIO, _RATE: Stage.AUDIO}
        return frozenset(of_inputs[name] for name in self.inputs)

    @property
    def texts(self) -> frozenset[str]:
        """Inputs that are text in UTF-8."""
        return _TEXTS.intersection(self.inputs)

    def metadata(self, dim: int) -> dict[str, Any]:
        """Names, types and shapes of the tensors; -1 is any length."""
        return {
            "name": self.name,
            "versions": [MODEL_VERSION],
            "platform": "claprt",
            "inputs": [
                {"name": name, "datatype": _TYPES[name], "shape": [1 if name in _OPTIONAL else -1]} for name in self.inputs
            ],
            "outputs": [
                {"name": name, "datatype": "FP32", "shape": [-1, dim if is_embedding else -1]}
                for name, is_embedding in self.outputs
            ],
        }

    def check(self, inputs: Inputs, types: Mapping[str, str]) -> None:
        """Check which inputs there are, and their types.

        Raises:
            ShapeError: If one is missing, unknown, or of another type.
        """
        needed = [name for name in self.inputs if name not in _OPTIONAL]
        if not set(needed) <= inputs.keys() <= set(self.inputs):
            raise ShapeError(
                f"{self.name} takes {', '.join(self.inputs)} ({', '.join(needed)} needed); got "
                f"{', '.join(name[:40] for name in list(inputs)[:8]) or 'no inputs'}."
            )
        for name, datatype in types.items():
            if datatype != _TYPES[name]:
                raise ShapeError(f"{name} is {_TYPES[name]}, and {datatype[:20]} was sent.")


def server_metadata() -> dict[str, Any]:
    """Name, version and extensions of the server."""
    return {"name": "claprt", "version": __version__, "extensions": ["binary_tensor_data"]}


def served_models(models: Models) -> dict[str, tuple[Service, Model]]:
    """The models of the protocol by their names, each with the service that runs it.

    The default model's have the names of the Triton repository. Where models have names, those of each are at the root
    with its name before theirs as well: `NAME.clap_text`.
    """
    served = {model.name: (models.default, model) for model in _models_of(models.default)}
    if models.are_named and not models.prefix:
        for name, service in models.services.items():
            named = [replace(model, name=f"{name}.{model.name}") for model in _models_of(service)]
            served |= {model.name: (service, model) for model in named}
    return served


def _models_of(service: Service) -> list[Model]:
    return [model for model in MODELS if model.towers <= service.towers]


def find_model(served: Mapping[str, tuple[Service, Model]], name: str, version: str | None) -> tuple[Service, Model]:
    """Find a model, and the service that runs it.

    Raises:
        NotFoundError: If there is none of the name, or in this version.
    """
    found = served.get(name)
    if found is None:
        raise NotFoundError(f"There is no model {name[:100]!r} here; there is {', '.join(served)}.")
    if version not in (None, MODEL_VERSION):
        raise NotFoundError(f"{name} is here in version {MODEL_VERSION}, and {version[:20]!r} was asked for.")
    return found


async def _clap_text(service: Service, inputs: Inputs) -> Mapping[str, Array]:
    return {"text_embeddings": await service.embed_texts(_texts(inputs, _TEXT))}


async def _clap_audio_file(service: Service, inputs: Inputs) -> Mapping[str, Array]:
    return {"audio_embeddings": await _embed_files(service, inputs)}


async def _clap_classify(service: Service, inputs: Inputs) -> Mapping[str, Array]:
    labels = _texts(inputs, _LABELS)
    check_count(len(labels), service.limits.texts, "labels")
    texts = await service.embed_texts(validate_labels(labels), called="labels")
    sounds, scale = await _embed_files(service, inputs), service.clap.manifest.logit_scale_a

    def scored() -> Mapping[str, Array]:
        rows = [score_labels(vector, texts, scale) for vector in sounds]
        names = ("similarities", "logits", "probabilities")
        return {name: np.stack([row[place] for row in rows]) for place, name in enumerate(names)}

    return await service.threads.run(scored)


MODELS = (
    Model("clap_text", (_TEXT,), (("text_embeddings", True),), _clap_text),
    Model("clap_audio_file", (_AUDIO, _RATE), (("audio_embeddings", True),), _clap_audio_file),
    Model(
        "clap_classify",
        (_AUDIO, _RATE, _LABELS),
        (("probabilities", False), ("logits", False), ("similarities", False)),
        _clap_classify,
    ),
)


def _texts(inputs: Inputs, name: str) -> Sequence[str]:
    return cast("Sequence[str]", inputs[name])  # `Model.texts` has the name, and `Model.check` has seen the type


async def _embed_files(service: Service, inputs: Inputs) -> Array:
    """Vectors [files, dim] of files, or of raw samples where a rate is given.

    Raises:
        ShapeError: If a file in JSON is not base64, or the rate is not one number.
    """
    files, rates = cast("Sequence[str | bytes]", inputs[_AUDIO]), cast("Sequence[int] | None", inputs.get(_RATE))
    check_count(len(files), service.limits.sounds, "sounds")
    if rates is not None and len(rates) != 1:
        raise ShapeError(f"sample_rate is one number for all sounds; got {len(rates)}.")
    if rates is not None and isinstance(files[0], str):
        raise ShapeError("sample_rate is for raw samples, which are sent as binary data; audio in JSON is files in base64.")
    given: list[AudioInput] = []
    for file in files:
        if isinstance(file, str):
            given.append(AudioInput(file, encoding=Encoding.BASE64))
        elif rates is None:
            given.append(AudioInput(file))
        else:
            given.append(AudioInput(file, rates[0], Encoding.SAMPLES))
    try:
        return np.stack(await service.embed_all(given, _AUDIO))
    except Base64Error as error:
        raise ShapeError(f"audio in JSON is files in base64: {error}") from error

"""A model that `mteb.evaluate` runs, on tasks of sounds and texts (MAEB).

    import mteb
    from claprt.integrations.mteb import ClapEncoder

    mteb.evaluate(ClapEncoder(claprt.load("630k-audioset-best")), tasks=mteb.get_tasks(["ESC50_Zeroshot"]))

Sounds are decoded from the files of the data set, as `Clap.embed_audio` does it: neither torchcodec nor torchaudio takes
part, and a sound over ten seconds is the mean of its windows, where mteb's own CLAP models draw one window at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from claprt.arrays import Embeddings
from claprt.errors import OptionError
from claprt.integrations.libraries import imported
from claprt.model.clap import Clap


class ClapEncoder:
    """The interface of mteb's encoders (`mteb.models.EncoderProtocol`)."""

    def __init__(self, model: Clap) -> None:
        """Take a model.

        Raises:
            MissingDependencyError: If mteb is not installed.
            OptionError: If it is not a loaded model.
        """
        if not isinstance(model, Clap):
            raise OptionError(f"ClapEncoder takes what claprt.load returns; got {type(model).__name__}.")
        self.model = model
        self.mteb_model_meta = _meta(model)
        """mteb's metadata: the checkpoint's name, and as the revision the fingerprint, so that mteb's cache keeps
        results of other precisions and windows apart."""

    def encode(self, inputs: Any, **options: Any) -> Embeddings:
        """Embed a data set.

        Args:
            inputs: A torch `DataLoader` of a data set with the column `audio`, `text`, or both.
            options: What mteb says about the task, which changes nothing.

        Returns:
            [rows, dim] float32, in the order of the data set. Where there are both columns, the sum of the two vectors, as
            in mteb's own CLAP models.

        Raises:
            OptionError: If the data set has neither column.
            AudioError: If a sound cannot be embedded.
        """
        del options
        dataset = inputs.dataset
        columns = list(dataset.features)
        found: list[Embeddings] = []
        if "audio" in columns:
            found.append(self.model.embed_audio(_sounds(dataset)))
        if "text" in columns:
            found.append(self.model.embed_text(list(dataset["text"])))
        if not found:
            raise OptionError(f"A data set with the column audio or text was expected; it has {', '.join(columns)}.")
        return found[0] if len(found) == 1 else found[0] + found[1]

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines of all rows with all rows, [n, m], as a torch tensor."""
        return imported("mteb.similarity_functions", package="mteb").cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines of rows with equal positions, [n], as a torch tensor."""
        return imported("mteb.similarity_functions", package="mteb").pairwise_cos_sim(embeddings1, embeddings2)


def _sounds(dataset: Any) -> Iterator[Any]:
    """The sounds of a data set, undecoded where it holds files."""
    audio = imported("datasets", "Audio", package="datasets").Audio
    if isinstance(dataset.features["audio"], audio):
        dataset = dataset.cast_column("audio", audio(decode=False))
    return (row["audio"] for row in dataset.select_columns(["audio"]))


def _meta(model: Clap) -> Any:
    return imported("mteb.models", package="mteb").ModelMeta(
        loader=None,
        name=f"claprt/{model.manifest.name}",
        revision=model.fingerprint.replace("/", "_"),
        release_date=None,
        languages=["eng-Latn"],
        n_parameters=None,
        memory_usage_mb=None,
        max_tokens=model.manifest.text.max_tokens,
        embed_dim=model.dim,
        license=None,
        open_weights=True,
        public_training_code=None,
        public_training_data=None,
        framework=["OpenVINO" if model.provider == "openvino" else "ONNX"],
        similarity_fn_name="cosine",
        use_instructions=False,
        training_datasets=None,
        modalities=["audio", "text"],
    )

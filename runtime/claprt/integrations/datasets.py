"""Vectors for data sets of Hugging Face: a column of them, without torch and without its decoders.

from claprt.integrations.datasets import embed_dataset, embed_query

dataset = embed_dataset(dataset, "mini")  # its column "audio" as [dim] float32 in "embedding"
dataset.add_faiss_index("embedding")
dataset.get_nearest_examples("embedding", embed_query(dataset, "a dog barking", "mini"), k=3)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claprt.arrays import Embeddings
from claprt.errors import FingerprintError, OptionError
from claprt.integrations.libraries import imported
from claprt.integrations.models import Model, embed_mixed, get_model
from claprt.model.clap import Clap


class ClapColumns:
    """A function for `dataset.map(…, batched=True)`: vectors of one column. It can be pickled, for `num_proc`."""

    def __init__(self, model: Model = None, column: str = "audio", output: str = "embedding", **options: Any) -> None:
        """Load a model.

        Args:
            model: What `claprt.load` takes, a loaded model, or None for the default model.
            column: What is embedded: texts, paths, bytes, or the feature `Audio` with `decode=False`.
            output: The new column of vectors. The column `{output}_model` has the fingerprint.
            options: Of `claprt.load`, such as `provider` and `precision`.

        Raises:
            ClaprtError: See `claprt.load`.
        """
        self.model: Clap = get_model(model, **options)
        self.column = column
        self.output = output

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """Embed a batch.

        Returns:
            [rows, dim] float32, and the fingerprint for each row.

        Raises:
            AudioError: If a sound cannot be embedded.
            TextError: If a text cannot be embedded.
        """
        items = list(batch[self.column])
        return {
            self.output: embed_mixed(self.model, items),
            f"{self.output}_model": [self.model.fingerprint] * len(items),
        }


def embed_dataset(
    dataset: Any,
    model: Model = None,
    column: str = "audio",
    output: str = "embedding",
    *,
    batch_size: int = 64,
    num_proc: int | None = None,
    **options: Any,
) -> Any:
    """Add a column of vectors to a data set.

    Args:
        dataset: A `datasets.Dataset`.
        model: See `ClapColumns`. datasets' cache keeps results of different models apart.
        column: Sounds or texts. Sounds are decoded here, from their files, whatever the feature `Audio` would do.
        output: The new column; `{output}_model` has the fingerprint.
        batch_size: Rows at a time.
        num_proc: Processes, each with the model; by default this one, on all cores.
        options: Of `claprt.load`, such as `provider` and `precision`.

    Returns:
        The data set with both columns, and its others as they were.

    Raises:
        OptionError: If the column is missing, or the new one is there already.
        FingerprintError: If it is there already, of another model.
        AudioError: If a sound cannot be embedded.
        TextError: If a text cannot be embedded.
    """
    library: Any = imported("datasets", "Audio", "Features", "List", "Value", package="datasets")
    add = ClapColumns(model, column, output, **options)
    if output in dataset.column_names:
        _check_model(dataset, output, add.model)
        raise OptionError(f"The data set has a column {output!r} of this model already.")
    if column not in dataset.column_names:
        raise OptionError(f"column={column!r} is not among the columns {', '.join(dataset.column_names)}.")
    features = dict(dataset.features)
    if isinstance(features[column], library.Audio):
        dataset = dataset.cast_column(column, library.Audio(decode=False))
    vectors = library.List(library.Value("float32"), length=add.model.dim)
    added = {output: vectors, f"{output}_model": library.Value("string")}
    described = library.Features({**dataset.features, **added})
    found = dataset.map(add, batched=True, batch_size=batch_size, num_proc=num_proc, features=described)
    return found if found.features[column] == features[column] else found.cast_column(column, features[column])


def embed_query(
    dataset: Any,
    query: Any,
    model: Model = None,
    output: str = "embedding",
    *,
    sample_rate: int | None = None,
    **options: Any,
) -> Embeddings:
    """Embed what is searched for in a data set, with the model of its vectors.

    Args:
        dataset: One that `embed_dataset` made, here or before.
        query: A text, or a sound as `Clap.embed_audio` takes it.
        model: As for `embed_dataset`.
        output: The column of vectors.
        sample_rate: Of an array, in Hz.
        options: Of `claprt.load`.

    Returns:
        [dim] float32 of length 1.

    Raises:
        OptionError: If the data set has no such column.
        FingerprintError: If its vectors are of another model.
        AudioError: If a sound cannot be embedded.
        TextError: If a text cannot be embedded.
    """
    clap = get_model(model, **options)
    _check_model(dataset, output, clap)
    return embed_mixed(clap, [query], sample_rate)[0]


def _check_model(dataset: Any, output: str, clap: Clap) -> None:
    """Check that vectors are of a model.

    Raises:
        OptionError: If there are none, or nothing says whose they are.
        FingerprintError: If they are not.
    """
    if f"{output}_model" not in dataset.column_names:
        raise OptionError(
            f"The data set has no column {output}_model, which would say what made the vectors in {output!r}."
        )
    others = set(dataset.unique(f"{output}_model")) - {clap.fingerprint}
    if others:
        raise FingerprintError(
            f"The data set has vectors of {', '.join(sorted(map(str, others)))}, and those of this model would be of "
            f"{clap.fingerprint}. Use the model that made them, or embed everything anew."
        )

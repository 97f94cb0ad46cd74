"""A transformer for scikit-learn's pipelines: sounds (or texts) in, vectors out.

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from claprt.integrations.sklearn import ClapVectorizer

classifier = make_pipeline(ClapVectorizer("mini"), LogisticRegression()).fit(paths, labels)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, Self, cast

import numpy as np

from claprt.arrays import Embeddings
from claprt.errors import OptionError
from claprt.integrations.libraries import imported
from claprt.integrations.models import Model, get_model
from claprt.model.clap import Clap

_base = imported(
    "sklearn.base", "BaseEstimator", "ClassNamePrefixFeaturesOutMixin", "TransformerMixin", package="scikit-learn"
)
_validation = imported("sklearn.utils.validation", "check_is_fitted", package="scikit-learn")


class ClapVectorizer(  # pyright: ignore[reportUntypedBaseClass]
    _base.ClassNamePrefixFeaturesOutMixin, _base.TransformerMixin, _base.BaseEstimator
):
    """Embeds sounds or texts. `fit` learns nothing but which model it is.

    A pipeline that was fitted with one model refuses another: `fingerprint_` is pickled with it; the model is not, but
    is loaded again from its name.
    """

    def __init__(
        self,
        model: Model = None,
        *,
        modality: str = "audio",
        sample_rate: int | None = None,
        provider: str | None = None,
        precision: str | None = None,
        long: str | None = None,
        hop_s: float | None = None,
    ) -> None:
        """Take the parameters; nothing is loaded before `fit`.

        Args:
            model: What `claprt.load` takes, a loaded model, or None for the default model. Clones share it.
            modality: `audio` for sounds, `text` for texts.
            sample_rate: Rate of arrays in Hz; by default the model's own.
            provider: See `claprt.load`.
            precision: See `claprt.load`.
            long: See `claprt.load`.
            hop_s: See `claprt.load`.
        """
        self.model = model
        self.modality = modality
        self.sample_rate = sample_rate
        self.provider = provider
        self.precision = precision
        self.long = long
        self.hop_s = hop_s

    def fit(self, X: Any = None, y: Any = None) -> Self:  # noqa: ARG002, N803 - scikit-learn's signature
        """Load the model, and keep its fingerprint.

        Raises:
            OptionError: If a parameter has no such value.
            ClaprtError: See `claprt.load`.
        """
        if self.modality not in ("audio", "text"):
            raise OptionError(f"modality={self.modality!r} is not known; choose audio or text.")
        clap = self._clap(None)
        self.fingerprint_ = clap.fingerprint
        self._n_features_out = clap.dim
        return self

    def transform(self, X: Any) -> Embeddings:  # noqa: N803 - scikit-learn's name
        """Embed sounds or texts.

        Args:
            X: A list, an array or a column (or a table of one column) of what `Clap.embed_audio` takes, or of strings. An
                array of numbers has one sound in each row.

        Returns:
            [rows, dim] float32 of length 1.

        Raises:
            NotFittedError: If it was not fitted.
            FingerprintError: If the model is another than the one that it was fitted with.
            OptionError: If `X` is one sound, or has several columns.
            AudioError: If a sound cannot be embedded.
            TextError: If a text cannot be embedded.
        """
        _validation.check_is_fitted(self, "fingerprint_")
        clap, rows = self._clap(self.fingerprint_), _rows(X)
        if self.modality == "text":
            return clap.embed_text(rows)
        return clap.embed_audio(rows, self.sample_rate) if rows else np.empty((0, clap.dim), np.float32)

    def _clap(self, fingerprint: str | None) -> Clap:
        options = {name: getattr(self, name) for name in ("provider", "precision", "long", "hop_s")}
        return get_model(self.model, fingerprint, "This pipeline", **options)

    def __sklearn_clone__(self) -> Self:
        """An unfitted vectorizer with the same parameters; a loaded model is shared, not loaded again."""
        return type(self)(**self.get_params(deep=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.no_validation = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _rows(given: Any) -> list[Any]:
    """The sounds or texts.

    Raises:
        OptionError: If it is one of them rather than a list, or a table of several columns.
    """
    if isinstance(given, str | bytes | bytearray | PathLike | Mapping) or not isinstance(given, Iterable):
        raise OptionError(f"X is a list of sounds or texts, one for each row; got one {type(given).__name__}.")
    if hasattr(given, "iloc") and getattr(given, "ndim", 1) == 2:
        given = cast("Any", given).to_numpy(dtype=object)
    if isinstance(given, np.ndarray) and given.ndim == 2 and given.dtype.kind in "OUST":
        if given.shape[1] != 1:
            raise OptionError(
                f"X is one column of sounds or texts; got {given.shape[1]}: choose one by a ColumnTransformer."
            )
        given = given[:, 0]
    return list(given)

"""scikit-learn's own tools take the vectorizer: pipelines, clones, searches, pickles, and its checks of estimators."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from claprt.errors import AudioNotFoundError, FingerprintError, OptionError

sklearn: Any = pytest.importorskip("sklearn", reason="needs scikit-learn: pip install scikit-learn")

from sklearn import base, compose, exceptions, linear_model, model_selection, pipeline  # noqa: E402
from sklearn.utils import estimator_checks  # noqa: E402

from claprt.integrations.sklearn import ClapVectorizer  # noqa: E402

CHECKS = (
    "do_not_raise_errors_in_init_or_set_params", "dont_overwrite_parameters", "estimator_cloneable", "estimator_repr",
    "estimator_tags_renamed", "estimators_fit_returns_self", "estimators_overwrite_params", "estimators_pickle",
    "estimators_unfitted", "fit_idempotent", "get_feature_names_out_error", "get_params_invariance", "mixin_order",
    "no_attributes_set_in_init", "parameters_default_constructible", "pipeline_consistency", "set_output_transform",
    "set_params", "transformer_get_feature_names_out", "transformers_unfitted", "valid_tag_types",
)  # fmt: skip
"""Those of scikit-learn's that fit a transformer whose rows are no numbers, for which `check_estimator` runs but one. They
give it rows of numbers, as sounds."""


@pytest.mark.parametrize("name", CHECKS)
def test_checks_of_estimators(name: str, bundle: Path) -> None:
    check = getattr(estimator_checks, f"check_{name}", None)
    if check is None:
        pytest.skip(f"scikit-learn {sklearn.__version__} has no check_{name}")
    check("ClapVectorizer", ClapVectorizer(str(bundle), sample_rate=48_000))


def test_rows_are_those_of_embed_audio(clap: claprt.Clap, few: list[str]) -> None:
    vectorizer = ClapVectorizer(clap).fit()
    expected = clap.embed_audio(few)
    for rows in (few, tuple(few), np.array(few), np.array(few, object)[:, None], [Path(path) for path in few]):
        assert np.array_equal(vectorizer.transform(rows), expected)
    samples = np.stack([soundfile.read(path)[0] for path in few])
    assert np.array_equal(
        ClapVectorizer(clap, sample_rate=48_000).fit_transform(samples), clap.embed_audio(list(samples), 48_000)
    )
    texts = ["rain", "a dog"]
    assert np.array_equal(ClapVectorizer(clap, modality="text").fit_transform(texts), clap.embed_text(texts))
    assert vectorizer.transform([]).shape == (0, clap.dim)
    assert list(vectorizer.get_feature_names_out())[:2] == ["clapvectorizer0", "clapvectorizer1"]


def test_a_column_of_a_table(clap: claprt.Clap, few: list[str]) -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    table = pandas.DataFrame({"path": few, "other": "x"}, index=list("abcde"))
    expected = clap.embed_audio(few)
    for columns in ("path", ["path"]):
        chosen: Any = compose.ColumnTransformer([("audio", ClapVectorizer(clap), columns)])
        assert np.array_equal(chosen.fit_transform(table), expected)
    framed = ClapVectorizer(clap).set_output(transform="pandas").fit_transform(table["path"])
    assert (list(framed.index), framed.columns[-1]) == (list("abcde"), f"clapvectorizer{clap.dim - 1}")
    with pytest.raises(OptionError, match="one column of sounds or texts; got 2"):
        ClapVectorizer(clap).fit_transform(table)


@pytest.mark.seconds
def test_a_pipeline_is_searched_and_pickled(bundle: Path, clap: claprt.Clap, many: list[str]) -> None:
    paths, labels = many[:10] + many[-10:], [0] * 10 + [1] * 10
    made = pipeline.make_pipeline(ClapVectorizer(str(bundle)), linear_model.LogisticRegression())
    search: Any = model_selection.GridSearchCV(made, {"clapvectorizer__hop_s": [None, 5.0]}, cv=2).fit(paths, labels)
    own, rows = linear_model.LogisticRegression(), clap.embed_audio(paths)
    assert search.best_score_ == model_selection.cross_val_score(own, rows, labels, cv=2).mean()
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    assert np.array_equal(again.predict(paths), own.fit(rows, labels).predict(rows))


def test_clones_share_a_loaded_model(clap: claprt.Clap, bundle: Path) -> None:
    vectorizer = ClapVectorizer(clap, sample_rate=22_050).fit()
    twin: Any = base.clone(vectorizer)
    assert twin.model is clap
    assert twin.get_params() == vectorizer.get_params()
    with pytest.raises(exceptions.NotFittedError):
        twin.transform([])
    twin.set_params(model=str(bundle), hop_s=5.0).fit()
    assert twin.fingerprint_ != vectorizer.fingerprint_


def test_a_fitted_pipeline_refuses_another_model(
    copied: Path, few: list[str], clap: claprt.Clap, replace_model: Callable[[], str]
) -> None:
    pickled = pickle.dumps(ClapVectorizer(str(copied)).fit())
    assert np.array_equal(pickle.loads(pickled).transform(few), clap.embed_audio(few))
    other = replace_model()
    with pytest.raises(FingerprintError) as refused:
        pickle.loads(pickled).transform(few)
    assert f"This pipeline has vectors of {clap.fingerprint}" in str(refused.value)
    assert other in str(refused.value)


def test_what_cannot_be(clap: claprt.Clap) -> None:
    vectorizer = ClapVectorizer(clap).fit()
    with pytest.raises(OptionError, match="one for each row; got one str"):
        vectorizer.transform("dog.wav")
    with pytest.raises(AudioNotFoundError):
        vectorizer.transform(["nowhere.wav"])
    with pytest.raises(OptionError, match="modality='video' is not known; choose audio or text"):
        ClapVectorizer(clap, modality="video").fit()

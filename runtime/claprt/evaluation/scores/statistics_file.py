"""Statistics of a set in a file, in fadtk's layout: `{model}.mu` and `{model}.cov` in an .npz.

What fadtk does not state is kept beside them under `claprt.*`: the fingerprint of the vectors, the protocol and how many
there were. Statistics are only taken for vectors with the same fingerprint. Files of fadtk itself state none; the name of
its model says which checkpoint they are of, and they are taken for the protocol `fadtk`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zipfile import BadZipFile

import numpy as np

from claprt.errors import DatasetError, FingerprintError
from claprt.evaluation.scores.distances.gaussians import Gaussian
from claprt.evaluation.scores.provenance import Provenance
from claprt.system.atomic import atomic_file

FADTK_NAMES: Mapping[str, str] = MappingProxyType(
    {"630k-audioset-best": "clap-laion-audio", "music_audioset_epoch_15_esc_90.14": "clap-laion-music"}
)
"""fadtk's name of a checkpoint."""


def model_key(provenance: Provenance) -> str:
    """What a checkpoint is called in the file."""
    name = provenance.checkpoint.removesuffix(".pt")
    return FADTK_NAMES.get(name, name)


def write_statistics(path: Path, gaussian: Gaussian, provenance: Provenance) -> None:
    """Write a mean and a covariance, whole or not at all.

    Raises:
        OSError: If the file cannot be written.
    """
    key = model_key(provenance)
    facts = {"fingerprint": provenance.fingerprint, "protocol": provenance.protocol, "version": provenance.version}
    arrays: dict[str, Any] = {f"{key}.mu": gaussian.mean, f"{key}.cov": gaussian.covariance}
    arrays |= {f"claprt.{name}": np.array(value) for name, value in facts.items()}
    if gaussian.rows is not None:
        arrays["claprt.rows"] = np.array(gaussian.rows)
    with atomic_file(path) as new, new.open("wb") as file:
        np.savez(file, **arrays)


def read_statistics(path: Path, provenance: Provenance) -> Gaussian:
    """Read the mean and the covariance of vectors with the fingerprint of `provenance`.

    Raises:
        DatasetError: If the file is not one of statistics, or damaged.
        FingerprintError: If it holds statistics of another model or protocol.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            names = set(stored.files)
            _check_origin(path, names, stored, provenance)
            key = model_key(provenance)
            mean, covariance = (np.asarray(stored[f"{key}.{part}"], np.float64) for part in ("mu", "cov"))
            rows = int(stored["claprt.rows"]) if "claprt.rows" in names else None
    except FingerprintError:
        raise
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DatasetError(
            f"{path} cannot be read as statistics of a set (.npz with NAME.mu and NAME.cov): {error}"
        ) from error
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise DatasetError(f"{path} holds a mean {list(mean.shape)} and a covariance {list(covariance.shape)}.")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise DatasetError(f"{path} holds NaN or infinity.")
    if not np.allclose(covariance, covariance.T, rtol=1e-3, atol=1e-9):
        raise DatasetError(f"{path} holds a covariance that is not symmetric.")
    return Gaussian(mean=mean, covariance=covariance, rows=rows)


def _check_origin(path: Path, names: set[str], stored: Mapping[str, Any], provenance: Provenance) -> None:
    """Check that these are statistics of the vectors that are scored.

    Raises:
        FingerprintError: If they are not.
    """
    if "claprt.fingerprint" in names:
        found = str(stored["claprt.fingerprint"])
        if found != provenance.fingerprint:
            raise FingerprintError(
                f"{path} holds statistics of vectors {found}; here they are {provenance.fingerprint}. Make the statistics "
                "anew with this model and protocol, or load the one that they were made with."
            )
        return
    models = sorted(name.removesuffix(".mu") for name in names if name.endswith(".mu"))
    if provenance.protocol != "fadtk" or model_key(provenance) not in models:
        raise FingerprintError(
            f"{path} states no fingerprint, so it was made by another program, for {', '.join(models[:5]) or 'no model'}. "
            f"fadtk's statistics of {' and '.join(FADTK_NAMES.values())} are taken with protocol fadtk and the checkpoints "
            f"{' and '.join(FADTK_NAMES)}; this is protocol {provenance.protocol} and {provenance.checkpoint}."
        )

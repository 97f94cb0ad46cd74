"""Whether OpenVINO computes the right vectors in the form for one row that it runs fastest.

The form (`claprt.engines.openvino_single`) is the same function as the graph, but OpenVINO has had wrong numbers in graphs
that are near to it (benchmarks/LOG.md): centred cosines of 0.995 and less. So the form is
compared with the graph itself on onnxruntime without optimisations, beside OpenVINO without the changes, which the quality
gate and every earlier release have run. A bundle whose form is further away is not given one and runs as before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime

from claprt.arrays import Array
from claprt.bundle.graphs import Precision, SingleForm, Stage
from claprt.bundle.manifest import Manifest
from claprt.engines.onnxruntime_session import Load
from claprt.engines.openvino_session import OpenVinoSession, openvino_name
from claprt.errors import BundleCorruptError
from claprt_export.precision.labelled_sets import Feeds
from claprt_export.precision.quality_gate import Run, centred_cosines

COMPARED = 24
"""Sounds that are enough: with twice as many, both distances change alike."""
FACTOR = 1.5
"""How much further off the form may be than OpenVINO without the changes: it rounds as much in other places, and was 0.8 to
1.1 times as far off."""
FLOOR = 1e-6
"""Distance that float32 arithmetic may have in any case."""
LARGEST = 3e-3
"""Distance that is too much in any case: rounding to bfloat16 and int8 leaves 1e-3, wrong numbers left 5e-3 and more."""


def checked_form(load: Load, precision: Precision, sounds: Sequence[Feeds]) -> SingleForm | None:
    """Compare the form of an audio graph, and the graph as it is, on OpenVINO with the graph on onnxruntime.

    Args:
        load: The graph, and how to load it.
        precision: What OpenVINO computes in, as for `OpenVinoSession`.
        sounds: Inputs of the graph, one sound each; more than one, and unlike each other.

    Returns:
        What was measured; None where OpenVINO cannot compile the form, or it is further away than the limit.

    Raises:
        BundleCorruptError: If OpenVINO cannot load the graph as it is.
    """

    def vectors(run: Run) -> Array:
        return np.concatenate([run(feeds) for feeds in sounds])

    expected = vectors(_as_it_is(load.path))
    unchanged = _distance(vectors(OpenVinoSession(load, precision)), expected)
    try:
        found = vectors(OpenVinoSession(replace(load, single=True), precision))
    except BundleCorruptError:
        return None
    form = SingleForm(
        graph=Stage.AUDIO,
        precision=precision,
        engine=openvino_name(),
        inputs=len(sounds),
        distance=_distance(found, expected),
        distance_unchanged=unchanged,
        distance_limit=min(FACTOR * unchanged + FLOOR, LARGEST),
    )
    return form if form.distance <= form.distance_limit else None


def _as_it_is(path: Path) -> Run:
    """A written graph on onnxruntime, which changes nothing in it: what was quantised is restored and run in float32."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feeds: np.asarray(session.run(None, dict(feeds))[0])


def _distance(vectors: Array, expected: Array) -> float:
    return 1 - float(centred_cosines(vectors, expected).mean())


def missing_forms(manifest: Manifest) -> Iterator[str]:
    """A line for each audio graph that OpenVINO was found to run, and whose form was refused."""
    for precision in manifest.graphs[Stage.AUDIO]:
        judged = manifest.judged_on(Stage.AUDIO, precision, "openvino") == openvino_name()
        if judged and not manifest.has_single_form(Stage.AUDIO, precision, openvino_name()):
            yield (
                f"{precision} of the audio tower runs unchanged on OpenVINO: in the faster form for one row its vectors "
                "are not near enough to the graph's"
            )

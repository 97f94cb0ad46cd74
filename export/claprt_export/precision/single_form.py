"""Whether OpenVINO computes the right vectors in the form for one row that it runs fastest.

The form (`claprt.engines.openvino_single`) is the same function as the graph, but OpenVINO has had wrong numbers in graphs
that are near to it (benchmarks/LOG.md): centred cosines of 0.995 and less. So both the form and the graph without the
changes are run on OpenVINO and compared with the graph on onnxruntime without optimisations. A form that is much further
away than the graph without the changes is left out, and so is one of a graph that OpenVINO gets wrong even without them;
the exporter then says so, and OpenVINO runs the graph as it is. The quality gate judges whichever of the two will run.

What is found holds for this graph, this version of OpenVINO and the arithmetic of this processor (bfloat16 or float32), and
the form is run nowhere else. That another processor with the same arithmetic computes alike is taken for granted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime

from claprt.arrays import Array
from claprt.bundle.engine_forms import SingleForm
from claprt.bundle.graphs import Precision, Stage
from claprt.engines.onnxruntime_session import Load
from claprt.engines.openvino_session import OpenVinoSession, openvino_arithmetic, openvino_name
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


def checked_form(load: Load, precision: Precision, sounds: Sequence[Feeds]) -> SingleForm | str:
    """Compare the form of an audio graph, and the graph as it is, on OpenVINO with the graph on onnxruntime.

    Args:
        load: The graph, and how to load it.
        precision: What OpenVINO computes in, as for `OpenVinoSession`.
        sounds: Inputs of the graph, one sound each; more than one, and unlike each other.

    Returns:
        What was measured, or in words why the form is not to be run: OpenVINO cannot compile it, or it, or the graph as it
        is, is too far away.

    Raises:
        BundleCorruptError: If OpenVINO cannot load the graph as it is.
    """

    def vectors(run: Run) -> Array:
        return np.concatenate([run(feeds) for feeds in sounds])

    expected = vectors(_as_it_is(load.path))
    unchanged = _distance(vectors(OpenVinoSession(load, precision)), expected)
    if not unchanged <= LARGEST:
        return (
            f"even so its vectors are {unchanged:.1e} off the graph's, where rounding leaves no more than {LARGEST:.0e}; "
            "the faster form for one row was not tried"
        )
    try:
        found = vectors(OpenVinoSession(replace(load, single=True), precision))
    except BundleCorruptError as error:
        return f"the faster form for one row {str(error).removeprefix(str(load.path)).strip().rstrip('.')}"
    form = SingleForm(
        graph=Stage.AUDIO,
        precision=precision,
        engine=openvino_name(),
        inputs=len(sounds),
        distance=_distance(found, expected),
        distance_unchanged=unchanged,
        distance_limit=min(FACTOR * unchanged + FLOOR, LARGEST),
        graph_sha256=load.facts.sha256,
        arithmetic=openvino_arithmetic(precision),
    )
    if form.distance <= form.distance_limit:
        return form
    return (
        f"in the faster form for one row its vectors are {form.distance:.1e} off the graph's, and no more than "
        f"{form.distance_limit:.1e} is accepted"
    )


def _as_it_is(path: Path) -> Run:
    """A written graph on onnxruntime, which changes nothing in it: what was quantised is restored and run in float32."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feeds: np.asarray(session.run(None, dict(feeds))[0])


def _distance(vectors: Array, expected: Array) -> float:
    return 1 - float(centred_cosines(vectors, expected).mean())

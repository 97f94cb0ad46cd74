"""CLAP embeddings without PyTorch: sounds and texts as unit vectors of one space.

import claprt

clap = claprt.load("bundle")
sound = clap.embed_audio("dog.wav")
texts = clap.embed_text(["a dog barking", "rain on a roof"])
similarity = texts @ sound
"""

from typing import TYPE_CHECKING

from claprt.system.telemetry import switch_off as _switch_off

_switch_off()  # before onnxruntime or OpenVINO is imported

# ruff: noqa: E402
import importlib

from claprt import _moved
from claprt._version import __version__
from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision
from claprt.bundle.manifest import Manifest
from claprt.errors import ClaprtError
from claprt.model.clap import Clap
from claprt.model.load import load
from claprt.model.results import EmbeddedSound
from claprt.model.vector_cache import VectorCache
from claprt.samples import sample_path
from claprt.scoring.classification import Classification
from claprt.scoring.tagging import Tagging
from claprt.tasks.functions import classify, embed, similarity, tag
from claprt.tasks.joint_embedding import JointEmbedding

if TYPE_CHECKING:
    from claprt.evaluation.scores.functions import score
    from claprt.evaluation.scores.streaming import AudioDistance, ClapScore
    from claprt.library.library import open_library
    from claprt.model.stream import Stream
    from claprt.scoring.events import Event
    from claprt.tasks.timeline.functions import timeline
    from claprt.tasks.timeline.result import Timeline

__all__ = [
    "AudioDistance",
    "Clap",
    "ClapScore",
    "ClaprtError",
    "Classification",
    "EmbeddedSound",
    "Event",
    "JointEmbedding",
    "Manifest",
    "Precision",
    "Stream",
    "Tagging",
    "Timeline",
    "VectorCache",
    "__version__",
    "classify",
    "embed",
    "load",
    "open_library",
    "read_bundle",
    "sample_path",
    "score",
    "similarity",
    "tag",
    "timeline",
]

_moved.install(_moved.MODULES, _moved.NAMES)

if not TYPE_CHECKING:
    _LATER = {
        "AudioDistance": "claprt.evaluation.scores.streaming",
        "ClapScore": "claprt.evaluation.scores.streaming",
        "Event": "claprt.scoring.events",
        "Stream": "claprt.model.stream",
        "Timeline": "claprt.tasks.timeline.result",
        "open_library": "claprt.library.library",
        "score": "claprt.evaluation.scores.functions",
        "timeline": "claprt.tasks.timeline.functions",
    }
    """Names that few programs need, imported when they are first looked up."""

    def __getattr__(name: str) -> object:
        if name in _LATER:
            return getattr(importlib.import_module(_LATER[name]), name)
        return _moved.attribute(__name__, name)

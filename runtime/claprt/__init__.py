"""CLAP embeddings without PyTorch: sounds and texts as unit vectors of one space.

import claprt

clap = claprt.load("bundle")
sound = clap.embed_audio("dog.wav")
texts = clap.embed_text(["a dog barking", "rain on a roof"])
similarity = texts @ sound
"""

from claprt.telemetry import switch_off as _switch_off

_switch_off()  # before onnxruntime or OpenVINO is imported

# ruff: noqa: E402
from claprt._version import __version__
from claprt.bundle import read_bundle
from claprt.cache import VectorCache
from claprt.errors import ClaprtError
from claprt.graphs import Precision
from claprt.joint import JointEmbedding
from claprt.loading import load
from claprt.manifest import Manifest
from claprt.model import Clap
from claprt.results import EmbeddedSound
from claprt.samples import sample_path
from claprt.scores import Classification
from claprt.tagging import Tagging
from claprt.tasks import classify, embed, similarity, tag

__all__ = [
    "Clap",
    "ClaprtError",
    "Classification",
    "EmbeddedSound",
    "JointEmbedding",
    "Manifest",
    "Precision",
    "Tagging",
    "VectorCache",
    "__version__",
    "classify",
    "embed",
    "load",
    "read_bundle",
    "sample_path",
    "similarity",
    "tag",
]

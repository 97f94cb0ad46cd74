"""CLAP embeddings without PyTorch: sounds and texts as unit vectors of one space.

import claprt

clap = claprt.load("bundle")
sound = clap.embed_audio("dog.wav")
texts = clap.embed_text(["a dog barking", "rain on a roof"])
similarity = texts @ sound
"""

from claprt.bundle import read_bundle
from claprt.errors import ClaprtError
from claprt.graphs import Precision
from claprt.loading import load
from claprt.manifest import Manifest
from claprt.model import Clap
from claprt.results import EmbeddedSound
from claprt.tasks import Classification, classify

__all__ = [
    "Clap",
    "ClaprtError",
    "Classification",
    "EmbeddedSound",
    "Manifest",
    "Precision",
    "__version__",
    "classify",
    "load",
    "read_bundle",
]

__version__ = "0.1.0"

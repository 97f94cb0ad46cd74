"""How well each text fits each sound: cosine, logit by the checkpoint's own scale, and probability."""

import numpy as np
import triton_python_backend_utils as backend

from claprt.errors import ArrayError
from claprt.scores import fits
from claprt.triton.steps import Steps, version_bundle


class TritonPythonModel:
    def initialize(self, args):
        self.scale = version_bundle(args).manifest.logit_scale_a
        self.steps = Steps(backend)

    def execute(self, requests):
        return self.steps.each(requests, self.answer)

    def answer(self, inputs, wanted):
        sounds, texts = inputs["audio_embeddings"], inputs["text_embeddings"]
        if not len(sounds) or not len(texts):
            raise ArrayError(f"There are {len(sounds)} sounds and {len(texts)} texts; give at least one of each.")
        rows = [fits(vector, texts, self.scale) for vector in sounds]
        names = ("similarities", "logits", "probabilities")
        return {name: np.stack([row[place] for row in rows]) for place, name in enumerate(names)}

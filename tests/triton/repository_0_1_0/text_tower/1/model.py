"""Token ids and their mask to vectors, on claprt's own engine."""

import numpy as np
import triton_python_backend_utils as backend

from claprt.graphs import Stage
from claprt.triton.steps import Steps, text_rows, tower, version_bundle


class TritonPythonModel:
    def initialize(self, args):
        self.engine = tower(args, Stage.TEXT)
        self.facts = version_bundle(args).manifest.text
        self.steps = Steps(backend)
        ones = np.ones((1, 16), np.int64)
        self.run({"token_ids": ones, "attention_mask": ones})  # Triton's own warm-up knows zeros only, and a mask of them

    def execute(self, requests):
        return self.steps.merged(requests, self.run)

    def run(self, inputs):
        return {"text_embeddings": text_rows(self.engine, self.facts, inputs["token_ids"], inputs["attention_mask"])}

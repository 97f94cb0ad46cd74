"""Log-mels to vectors, on claprt's own engine: one sound on all cores, several side by side."""

import triton_python_backend_utils as backend

from claprt.graphs import Stage
from claprt.many import run_audio_batch
from claprt.triton.steps import Steps, tower


class TritonPythonModel:
    def initialize(self, args):
        self.engine = tower(args, Stage.AUDIO)
        self.engine.batch_engine()  # loaded now rather than in the middle of the first batch
        self.steps = Steps(backend)

    def execute(self, requests):
        return self.steps.merged(requests, self.run)

    def run(self, inputs):
        return {"audio_embeddings": run_audio_batch(self.engine, inputs["log_mels"], inputs.get("is_longer"))}

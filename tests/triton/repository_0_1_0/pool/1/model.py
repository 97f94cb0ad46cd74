"""Vectors of windows to vectors of files."""

import numpy as np
import triton_python_backend_utils as backend

from claprt.errors import ArrayError
from claprt.many import pooled
from claprt.triton.steps import Steps


class TritonPythonModel:
    def initialize(self, args):
        self.steps = Steps(backend)

    def execute(self, requests):
        return self.steps.each(requests, self.answer)

    def answer(self, inputs, wanted):
        vectors, windows = inputs["window_embeddings"], inputs["windows"]
        if windows.size == 0 or windows.min() < 1 or windows.sum() != len(vectors):
            raise ArrayError(f"windows counts {windows.tolist()}, and there are {len(vectors)} rows of window_embeddings.")
        files = np.split(vectors, np.cumsum(windows)[:-1])
        if not all(np.isfinite(file).all() and file.any() for file in files):
            raise ArrayError("window_embeddings must be unit vectors; the rows of a file are 0, or NaN or infinity.")
        return {"audio_embeddings": np.stack([pooled(file) for file in files])}

"""Files as bytes, or raw float32 samples at a stated rate, to windows of ten seconds: waveforms or log-mels."""

from dataclasses import replace

import numpy as np
import triton_python_backend_utils as backend

from claprt.audio import open_sound
from claprt.clip import as_heard, at_most, long_clips, views, waveforms
from claprt.decode import float_samples
from claprt.errors import EmptyAudioError
from claprt.preprocess import preprocess_blocks, recipe
from claprt.triton.steps import Steps, parameter, version_bundle


class TritonPythonModel:
    def initialize(self, args):
        self.facts = version_bundle(args).manifest.audio
        self.limit = int(parameter(args, "max_windows"))
        self.recipe = recipe("laion")
        self.views = long_clips(None, self.facts, None, None)  # four views of the whole where fused, else windows
        self.windows = long_clips("windows", self.facts, None, None)
        self.steps = Steps(backend)

    def execute(self, requests):
        return self.steps.each(requests, self.answer)

    def answer(self, inputs, wanted):
        if len(inputs["audio"]) == 0:
            raise EmptyAudioError("audio names no file; give at least one.")
        rate = int(inputs["sample_rate"][0]) if "sample_rate" in inputs else None
        # one or the other, since of a fused bundle there are not as many of each; a client that names none wants all
        cut = self.cut_waveforms if "waveforms" in wanted else self.cut_views
        files, left = [], self.limit
        for data in inputs["audio"]:
            files.append(list(cut(self.blocks(data, rate, left))))
            left -= len(files[-1])
        rows = [row for file in files for row in file]
        answer = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return answer | {"windows": np.array([len(file) for file in files], np.int32)}

    def blocks(self, data, rate, windows):
        heard = self.facts.mel.sample_rate
        sound = open_sound(data if rate is None else float_samples(data), rate, heard)
        sound = replace(sound, blocks=at_most(windows, sound.blocks, sound.rate, self.facts))
        return preprocess_blocks(sound, self.recipe, heard)

    def cut_waveforms(self, blocks):
        for _, window in waveforms(blocks, self.facts, self.windows):
            yield {"waveforms": as_heard(window, self.facts)[: self.facts.window_samples]}

    def cut_views(self, blocks):
        for view in views(blocks, self.facts, self.recipe, self.views):
            yield {"log_mels": view.log_mels, "is_longer": np.array([view.is_longer])}

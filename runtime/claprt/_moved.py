"""Modules and names of 0.1.0 at their new places: programs, pickles and Triton repositories of then keep working.

Modules inside the service are not among them: no document of 0.1.0 names any but `app`, `limits` and `server`.

A module of `MODULES` can be imported under its old name, with a `DeprecationWarning` that states the new one. Whatever is
looked up in it comes from the place in `NAMES`, or else from the first of its new modules that has it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

MODULES: Mapping[str, str] = {
    "claprt.bound": "claprt.engines.io_binding claprt.engines.tensorrt",
    "claprt.cache": "claprt.model.vector_cache",
    "claprt.calibrate": "claprt.evaluation.calibration",
    "claprt.clip": "claprt.audio.features claprt.audio.long_audio",
    "claprt.dataset": "claprt.evaluation.dataset claprt.evaluation.reading.read",
    "claprt.decode": "claprt.audio.decode",
    "claprt.engine": "claprt.engines.engine",
    "claprt.evaluate": "claprt.evaluation.zero_shot claprt.evaluation.confusion_picture",
    "claprt.graph_cache": "claprt.engines.graph_cache claprt.system.cache_folder claprt.bundle.digests",
    "claprt.graphs": "claprt.bundle.graphs",
    "claprt.inprocess": "claprt.engines.in_process",
    "claprt.joint": "claprt.tasks.joint_embedding",
    "claprt.labels": "claprt.scoring.labels",
    "claprt.latency": "claprt.evaluation.latency",
    "claprt.loading": "claprt.model.load",
    "claprt.machine": "claprt.engines.hardware",
    "claprt.manifest": "claprt.bundle.manifest",
    "claprt.many": "claprt.model.batching",
    "claprt.mel": "claprt.audio.log_mel",
    "claprt.openvino_session": "claprt.engines.openvino_session",
    "claprt.preprocess": "claprt.audio.preprocess",
    "claprt.projection": "claprt.engines.projection",
    "claprt.providers": "claprt.engines.choice claprt.engines.providers",
    "claprt.recall": "claprt.model.embedding_cache",
    "claprt.resample": "claprt.audio.resample",
    "claprt.results": "claprt.model.results",
    "claprt.scores": "claprt.scoring.classification",
    "claprt.session": "claprt.engines.onnxruntime_session",
    "claprt.synthetic": "claprt.audio.synthetic",
    "claprt.tagging": "claprt.scoring.tagging",
    "claprt.triton.address": "claprt.bundle.address",
    "claprt.triton.aio": "claprt.engines.triton.aio",
    "claprt.triton.engine": "claprt.engines.triton.engine",
    "claprt.triton.failures": "claprt.engines.triton.errors",
    "claprt.triton.forks": "claprt.system.forks",
    "claprt.triton.lint": "claprt.triton.repository.lint",
    "claprt.triton.onnx_versions": "claprt.triton.repository.onnx_versions",
    "claprt.triton.regions": "claprt.engines.triton.shared_memory",
    "claprt.triton.served": "claprt.engines.triton.metadata",
    "claprt.triton.steps": "claprt.triton.backend.adapter",
    "claprt.triton.transport": "claprt.engines.triton.transport",
    "claprt.triton.wiring": "claprt.triton.repository.ensembles",
    "claprt.windows": "claprt.audio.windows",
}
"""New modules of each old one, separated by spaces."""

NAMES: Mapping[str, str] = {
    "claprt.bound.BoundRuns": "claprt.engines.io_binding.IoBindingRunner",
    "claprt.clip.LongClips": "claprt.audio.long_audio.LongAudioPolicy",
    "claprt.clip.View": "claprt.audio.features.AudioFeatures",
    "claprt.clip.as_heard": "claprt.audio.long_audio.fit_window",
    "claprt.clip.at_most": "claprt.audio.long_audio.limit_duration",
    "claprt.clip.long_clips": "claprt.audio.long_audio.long_audio_policy",
    "claprt.clip.views": "claprt.audio.features.model_inputs",
    "claprt.clip.whole_number": "claprt.validation.whole_number",
    "claprt.clip.waveforms": "claprt.audio.long_audio.audio_windows",
    "claprt.decode.open_file": "claprt.audio.files.sound_file.open_sound_file",
    "claprt.engine.checked_feeds": "claprt.engines.engine.validate_feeds",
    "claprt.graphs.FileFacts": "claprt.bundle.graphs.FileInfo",
    "claprt.graphs.GraphFacts": "claprt.bundle.graphs.GraphInfo",
    "claprt.graphs.ParityFacts": "claprt.bundle.graphs.ParityReport",
    "claprt.graphs.ProjectionFacts": "claprt.bundle.graphs.ProjectionInfo",
    "claprt.graphs.QualityFacts": "claprt.bundle.graphs.QualityReport",
    "claprt.graphs.TaskFacts": "claprt.bundle.graphs.TaskReport",
    "claprt.graphs.TensorFacts": "claprt.bundle.graphs.TensorSpec",
    "claprt.inprocess.this_machine": "claprt.engines.in_process.detect_hardware",
    "claprt.labels.checked_labels": "claprt.scoring.labels.validate_labels",
    "claprt.labels.filled_in": "claprt.scoring.labels.apply_template",
    "claprt.labels.position_of": "claprt.scoring.labels.label_index",
    "claprt.machine.Machine": "claprt.engines.hardware.Hardware",
    "claprt.manifest.AudioFacts": "claprt.bundle.manifest.AudioConfig",
    "claprt.manifest.Shares": "claprt.bundle.metadata.PrecisionRecall",
    "claprt.manifest.TaggingFacts": "claprt.bundle.metadata.TaggingCalibration",
    "claprt.manifest.TextFacts": "claprt.bundle.manifest.TextConfig",
    "claprt.many.MANY": "claprt.model.batching.PARALLEL_AFTER",
    "claprt.many.Views": "claprt.model.parallel.ReadFeatures",
    "claprt.many.audio_rows": "claprt.model.batching.run_audio_batch",
    "claprt.many.embedded": "claprt.model.batching.embed_all",
    "claprt.many.pooled": "claprt.model.results.mean_pool",
    "claprt.preprocess.prepared_blocks": "claprt.audio.preprocess.preprocess_blocks",
    "claprt.projection.ships_with_claprt": "claprt.bundle.folder.is_shipped",
    "claprt.providers.why_not": "claprt.engines.providers.unavailable_reason",
    "claprt.recall.Recall": "claprt.model.embedding_cache.EmbeddingCache",
    "claprt.scores.fits": "claprt.scoring.classification.score_labels",
    "claprt.tagging.checked_threshold": "claprt.scoring.tagging.validate_threshold",
    "claprt.tagging.tagging": "claprt.scoring.tagging.tag_embedding",
    "claprt.tasks.classification": "claprt.tasks.functions.classify_embedding",
    "claprt.tasks.loaded": "claprt.tasks.models.resolve_model",
    "claprt.text.checked_texts": "claprt.text.tokenizer.validate_texts",
    "claprt.windows.fill": "claprt.audio.windows.pad_to",
    "claprt.windows.shrink": "claprt.audio.windows.resize_time",
}
"""Names that are different now, also in modules that are packages now (`attribute`)."""


class MovedModules:
    """Finds modules under their old names; last in `sys.meta_path`, so that it costs nothing while none is used."""

    def __init__(self, modules: Mapping[str, str], names: Mapping[str, str]) -> None:
        self._modules = modules
        self._names = names

    def find_spec(self, name: str, _path: object, _target: object = None) -> ModuleSpec | None:
        """The specification of an old module; None for any other."""
        if name not in self._modules:
            return None
        loader: Any = self  # by its methods
        return ModuleSpec(name, loader, is_package=any(old.startswith(f"{name}.") for old in self._modules))

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to the import system, which makes an empty one."""

    def exec_module(self, module: ModuleType) -> None:
        """Warn, and let the module look its names up."""
        old = module.__name__
        new = self._modules[old].split()
        now = f"{old} is now {' and '.join(new)}"
        warnings.warn(f"{now}; import from there.", DeprecationWarning, stacklevel=_levels_to_the_caller())

        def look_up(name: str) -> Any:
            place = self._names.get(f"{old}.{name}")
            if place is not None:
                return _value(place)
            for part in new if not name.startswith("__") else ():
                if hasattr(import_module(part), name):
                    return _value(f"{part}.{name}")
            raise AttributeError(f"{now}, without {name!r}", name=name, obj=module)

        vars(module)["__getattr__"] = look_up

    def get_code(self, name: str) -> CodeType | None:
        """The code of the new module, for `python -m OLD`."""
        from importlib.util import find_spec

        new = self._modules[name].split()[0]
        loader: Any = (find_spec(new) or ModuleSpec(new, None)).loader
        return loader.get_code(new)


def install(modules: Mapping[str, str], names: Mapping[str, str]) -> None:
    """Let modules be imported under old names."""
    sys.meta_path.append(MovedModules(modules, names))


def restore(instance: Any, state: Sequence[Any]) -> None:
    """The `__setstate__` of a slotted dataclass whose newer fields are missing from older pickles: they get their defaults.

    Args:
        instance: To be filled.
        state: Values of its first fields, in their order.
    """
    from dataclasses import fields

    for number, field in enumerate(fields(instance)):
        object.__setattr__(instance, field.name, state[number] if number < len(state) else field.default)


def attribute(module: str, name: str) -> Any:
    """What 0.1.0 had under a name in a module that is still there, for the module's `__getattr__`.

    Raises:
        AttributeError: If it had nothing of this name.
    """
    old = f"{module}.{name}"
    if old in NAMES:
        return _value(NAMES[old])
    if old in MODULES or old in _IMPORTED:
        return import_module(old)
    raise AttributeError(f"module {module!r} has no attribute {name!r}")


_IMPORTED = frozenset({"claprt.triton"})
"""Packages that `import claprt` of 0.1.0 imported."""


def _value(place: str) -> Any:
    module, _, name = place.rpartition(".")
    return getattr(import_module(module), name)


def _levels_to_the_caller() -> int:
    """How far up the stack the import statement is, in the count of `warnings.warn` for its caller."""
    import inspect  # a few milliseconds that only a warning needs

    frame, level = inspect.currentframe(), 0
    while frame is not None:
        file = frame.f_code.co_filename
        if not ("importlib" in file and "_bootstrap" in file):  # frames that `warnings.warn` does not count
            if frame.f_globals.get("__name__") not in ("claprt", __name__, "importlib"):
                break
            level += 1
        frame = frame.f_back
    return level

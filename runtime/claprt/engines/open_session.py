"""From a choice to a session: which runtime opens a graph, and with which options."""

from __future__ import annotations

from dataclasses import replace

from claprt.bundle.folder import Bundle
from claprt.bundle.graphs import NATIVE_FILE, GraphInfo, Precision, Stage
from claprt.engines.choice import Choice
from claprt.engines.graph_cache import GraphCache
from claprt.engines.onnxruntime_session import Load, OrtSession, ProviderOptions, Runner, preload_gpu_libraries
from claprt.engines.providers import ON_CPU, ORT_NAMES, Provider, provider_of
from claprt.engines.tensorrt import engine_cache_options, probe_feeds, profile_options, shape_profile
from claprt.errors import ProviderUnavailableError

_MAX_BATCH = 64


def open_session(
    bundle: Bundle, choice: Choice, stage: Stage, *, threads: int, side_by_side: int, cache: GraphCache | None
) -> Runner:
    """Open the graph of a stage on the provider that was chosen. Called in a thread of its own, as `OrtSession` wants it.

    Args:
        bundle: What to run.
        choice: On what, in which precision, with which options.
        stage: The tower.
        threads: Of all calls together.
        side_by_side: Calls that share the threads.
        cache: Where prepared graphs are kept.

    Raises:
        BundleCorruptError: If the graph is not what the manifest says.
        ProviderUnavailableError: If the provider cannot be loaded, or cannot run this graph.
    """
    precision = choice.of(stage)
    divided = choice.provider is not Provider.OPENVINO  # which divides threads among its streams itself
    load = Load(
        path=bundle.graph_path(stage, precision),
        facts=bundle.manifest.graph(stage, precision),
        threads=max(1, threads // side_by_side) if divided else threads,
        cache=cache,
        verified=bundle.verified,
    )
    provider = provider_of(choice.provider, stage)
    if provider is Provider.OPENVINO:
        return _on_openvino(bundle, stage, precision, load, side_by_side)
    if provider is Provider.NATIVE:
        return _on_native(bundle, load)
    if provider is Provider.TENSORRT_RTX:
        return _on_tensorrt_rtx(bundle, stage, precision, load)
    if provider not in ON_CPU:
        preload_gpu_libraries()
    return OrtSession(load, provider, _ort_providers(bundle, choice, provider, load.facts, cache))


def _on_openvino(bundle: Bundle, stage: Stage, precision: Precision, load: Load, streams: int) -> Runner:
    from claprt.engines.openvino_session import OpenVinoSession, openvino_arithmetic, openvino_name

    single = bundle.manifest.has_single_form(stage, precision, openvino_name(), openvino_arithmetic(precision))
    return OpenVinoSession(replace(load, single=single), precision, streams=streams)


def _on_native(bundle: Bundle, load: Load) -> Runner:
    """The audio tower, from the bundle's packed weights if the export has judged them."""
    from claprt.engines.native.session import NativeSession

    stated = bundle.manifest.files.get(NATIVE_FILE)
    if stated is None or bundle.manifest.judged_on(Stage.AUDIO, Precision.INT8, "native") is None:
        return NativeSession(load)  # which compares what it packs with the graph
    return NativeSession(load, (bundle.path / NATIVE_FILE, stated))


def _on_tensorrt_rtx(bundle: Bundle, stage: Stage, precision: Precision, load: Load) -> Runner:
    """The engine that was built from a graph.

    Raises:
        ProviderUnavailableError: If the bundle has none, or it cannot be run here.
    """
    from claprt.engines.tensorrt_rtx_session import TensorRtxSession

    engine = bundle.manifest.engine(stage, precision)
    if engine is None:
        raise ProviderUnavailableError(f"the bundle has no TensorRT-RTX engine of {load.facts.file}")
    probe = probe_feeds(load.facts, bundle.manifest.text.vocabulary)
    return TensorRtxSession(replace(load, path=bundle.path / engine.file), engine, probe)


def _ort_providers(
    bundle: Bundle, choice: Choice, provider: Provider, facts: GraphInfo, cache: GraphCache | None
) -> ProviderOptions:
    cpu, name = ORT_NAMES[Provider.CPU], ORT_NAMES[provider]
    if provider is Provider.CPU:
        return [cpu]
    if provider is Provider.TENSORRT:
        max_batch = max(choice.options.max_batch, _MAX_BATCH)
        max_tokens = bundle.manifest.text.max_tokens
        profile = profile_options(shape_profile(facts, max_batch=max_batch, max_tokens=max_tokens))
        return [(name, {**profile, **engine_cache_options(cache, facts, profile)}), ORT_NAMES[Provider.CUDA], cpu]
    return [(name, {"use_tf32": "0"}), cpu]  # fp32 shall be fp32; TF32 has ten bits of mantissa

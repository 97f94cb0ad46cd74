"""`load`: from a bundle, a checkpoint, or a server's address to a model that is ready."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from claprt.audio.long_audio import long_audio_policy
from claprt.audio.preprocess import recipe
from claprt.bundle.address import is_address
from claprt.bundle.folder import Bundle, default_bundle, read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.errors import FingerprintError, OptionError
from claprt.model.clap import Clap
from claprt.model.vector_cache import VectorCache
from claprt.validation import whole_number

if TYPE_CHECKING:
    from claprt.engines.choice import EngineOptions
    from claprt.engines.in_process import InProcessEngine
    from claprt.engines.triton.engine import TritonEngine


def load(
    bundle: str | os.PathLike[str] | None = None,
    provider: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    preprocess: str = "laion",
    long: str | None = None,
    *,
    hop_s: float | None = None,
    seed: int | None = None,
    batch_size: int = 8,
    fallback: bool = False,
    verify: bool = True,
    fingerprint: str | None = None,
    cache: VectorCache | str | os.PathLike[str] | bool | None = None,
    server: Mapping[str, Any] | None = None,
    projection: str | os.PathLike[str] | None = None,
    lazy: bool = False,
) -> Clap:
    """Load a bundle or a checkpoint, or connect to a Triton server.

    Args:
        bundle: What to load; by default what the environment variable `CLAPRT_BUNDLE` names, else the small model in the
            package, whose name is `mini`. One of:

            - the folder of a bundle;
            - a checkpoint: a LAION `.pt` file, a folder saved by transformers, or a published name such as
              `630k-audioset-best` or `laion/clap-htsat-fused`, which is downloaded. It is exported once, which needs the
              `export` extra and about a minute; the export is kept in the cache folder;
            - the address of a Triton server, `triton://host:8001` (gRPC) or `triton+http://host:8000`. The towers then run
              there, and `provider`, `precision` and `threads` are the server's.
        provider: `auto`, `cpu`, `openvino`, `native`, `cuda`, `tensorrt` or `tensorrt-rtx`. A named provider that is not
            available is an error.
        precision: One that the bundle was exported in, or `auto` for the fastest on this machine whose quality the export
            accepted, chosen together with the provider and for each tower by itself. The default is fp32, which gives
            LAION's vectors. Vectors of different precisions have different fingerprints.
        threads: CPU threads; by default the physical cores that this process may use.
        preprocess: Whose vectors to reproduce: `laion`, `transformers` or `kromosynth`.
        long: Treatment of clips over ten seconds: `windows`, `center`, `head`, `random` or `fusion`. The default is
            `fusion` for fused checkpoints and `windows` for others.
        hop_s: For `windows`, seconds from the start of one window to that of the next; by default a whole window.
        seed: For `random` and `fusion`, reproduces the crops of LAION's code after `numpy.random.seed(seed)`.
        batch_size: Windows in one run of the audio tower.
        fallback: Whether the CPU is used where the provider is not available; `Clap.provider` states what runs.
        verify: Whether the sha256 of every file is compared with the manifest. Files that have not changed since the last
            load are not read again.
        fingerprint: The fingerprint that the model must have, as `Clap.fingerprint` states it.
        cache: Where vectors of sounds are kept by their content: True for memory, a folder, or a `VectorCache` with bounds
            of its own. By default every sound is computed.
        server: Options of `claprt.triton.TritonEngine`: headers and certificates, timeouts, retries.
        projection: The folder of a bundle of the same checkpoint whose projection `Clap.project` runs; by default the
            model's own. A model on a server needs one, because projections run in this process.
        lazy: Whether the audio tower too is loaded only when it is first used, as the text tower always is; for programs
            that may need texts alone. What cannot be loaded is an error only then, and no other precision replaces it.

    Raises:
        BundleError: If there is no bundle, it has another schema, a file is missing or altered, or a checkpoint cannot be
            exported.
        ProviderUnavailableError: If the provider is not available on this machine.
        OptionError: If an option has an unknown value, or the bundle does not support it.
        FingerprintError: If the model has another fingerprint, or the projection is of another checkpoint.
        ServerError: If the server cannot be reached, or does not serve what `claprt triton` builds.
        MissingDependencyError: If onnxruntime, tritonclient for a server, or the exporter's packages for a checkpoint are
            not installed.
    """
    arguments = dict(locals())
    from claprt.engines.choice import EngineOptions

    batch_size = whole_number("batch_size", batch_size)
    if batch_size < 1:
        raise OptionError(f"batch_size={batch_size} is not possible; give 1 or more.")
    threads = None if threads is None else whole_number("threads", threads)
    prepared = recipe(preprocess)
    options = EngineOptions(
        provider=provider,
        precision=precision or Precision.FP32,
        threads=threads,
        fallback=fallback,
        max_batch=batch_size,
    )
    served: TritonEngine | None = None
    named = default_bundle() if bundle is None else bundle
    if is_address(named):
        served = _served(str(named), precision, options, dict(server or {}))
        found = Bundle(folder=None, manifest=served.served.manifest)
    elif server is not None:
        raise OptionError(f"server={dict(server)!r} is for the address of a server, such as triton://localhost:8001.")
    else:
        from claprt.checkpoints.resolve import find_bundle

        found = replace(read_bundle(find_bundle(named, precision=precision)), verified=verify)
    policy = long_audio_policy(long, found.manifest.audio, hop_s, seed)
    engine = served or _in_process(found, options, lazy=lazy)
    projecting = None if projection is None else _projecting(projection, found)
    if projecting is not None:  # after the model's own files were verified, of which it is none
        found = replace(found, manifest=replace(found.manifest, projection=projecting.manifest.projection))
    clap = Clap(
        found,
        engine,
        recipe=prepared,
        long=policy,
        batch_size=batch_size,
        tokenizer=served,
        cache=_vector_cache(cache),
        projection=projecting,
    )
    clap.load_again = load_again
    clap.loaded_from = _repeatable(arguments, str(named) if served else found, projecting)
    if fingerprint is not None and clap.fingerprint != fingerprint:
        raise FingerprintError(f"Vectors of {fingerprint} were asked for, and these would be of {clap.fingerprint}.")
    return clap


def _repeatable(arguments: Mapping[str, Any], model: str | Bundle, projecting: Bundle | None) -> Mapping[str, Any]:
    """The arguments of `load` as they mean the same in another process: with paths in full."""
    kept = {name: value for name, value in arguments.items() if name not in ("batch_size", "fingerprint")}
    kept["bundle"] = str(model.path.resolve()) if isinstance(model, Bundle) else model
    kept["projection"] = None if projecting is None else str(projecting.path.resolve())
    if isinstance(kept["cache"], str | os.PathLike):
        kept["cache"] = str(Path(kept["cache"]).absolute())
    return MappingProxyType(kept)


def load_again(arguments: Mapping[str, Any], fingerprint: str) -> Clap:
    """What a pickled or deeply copied model becomes: the same one, loaded where it is unpickled.

    Args:
        arguments: Of `load`, without the fingerprint.
        fingerprint: Of the model that was pickled.

    Raises:
        FingerprintError: If the bundle at the path has another fingerprint.
        ClaprtError: See `load`.
    """
    return load(**arguments, fingerprint=fingerprint)


def _projecting(folder: str | os.PathLike[str], model: Bundle) -> Bundle:
    """Read the bundle whose projection is run on the model's vectors.

    Raises:
        OptionError: If it has no projection.
        FingerprintError: If it is of another checkpoint.
    """
    found = read_bundle(folder)
    if found.manifest.projection is None:
        raise OptionError(f"projection={os.fspath(folder)!r}: the bundle there has none.")
    if found.manifest.source.sha256 != model.manifest.source.sha256:
        raise FingerprintError(
            f"The projection of {os.fspath(folder)!r} is for vectors of {found.manifest.name!r}, another checkpoint than "
            f"that of {model.manifest.name!r}."
        )
    return found


def _vector_cache(given: VectorCache | str | os.PathLike[str] | bool | None) -> VectorCache | None:
    if given is None or given is False or isinstance(given, VectorCache):
        return given or None
    return VectorCache() if given is True else VectorCache(given)


def _in_process(found: Bundle, options: EngineOptions, *, lazy: bool) -> InProcessEngine:
    """The engine that runs the bundle here."""
    from claprt.engines.choice import choose
    from claprt.engines.graph_cache import default_cache
    from claprt.engines.in_process import InProcessEngine, detect_hardware

    choice = choose(options, detect_hardware(), found.manifest)
    cache = default_cache()
    if found.verified:
        found.verify(cache)
    return InProcessEngine(found, choice, cache=cache, preload=() if lazy else (Stage.AUDIO,))


def _served(url: str, precision: str | None, given: EngineOptions, options: dict[str, Any]) -> TritonEngine:
    """Connect to the engine on a server.

    Raises:
        OptionError: If an option is for an engine in this process, is unknown, or asks for another precision.
    """
    from claprt.engines.choice import EngineOptions
    from claprt.engines.triton.engine import TritonEngine

    for name in ("provider", "threads", "fallback"):
        if getattr(given, name) != getattr(EngineOptions(), name):
            raise OptionError(f"{name} is the server's own with {url}; leave it out.")
    unknown = options.keys() - inspect.signature(TritonEngine).parameters.keys()
    if unknown:
        raise OptionError(f"server has no option {', '.join(sorted(unknown))}.")
    engine = TritonEngine(url, **options)
    if precision not in (None, "auto", engine.precision):
        engine.close()
        raise OptionError(f"precision={precision!r} was asked for, and {url} serves {engine.precision}.")
    return engine

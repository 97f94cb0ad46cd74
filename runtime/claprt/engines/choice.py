"""Which execution provider runs a bundle, and in which precision: a pure choice, made from facts that the caller looks up.

What runs is what was asked for. If it cannot be had that is an error, unless the caller allowed a fallback; nothing here
ever asks onnxruntime for a provider and lets it quietly take another. `tensorrt` is never chosen by `auto`: building its
engines takes minutes. `tensorrt-rtx` is, where the bundle has engines for the GPU that is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from claprt.bundle.fingerprint import precision_label
from claprt.bundle.graphs import NATIVE_FILE, Precision, Stage
from claprt.bundle.manifest import Manifest
from claprt.engines.hardware import Hardware
from claprt.engines.providers import AUTO, PRECISIONS, Pair, Provider, provider_of, unavailable_reason
from claprt.errors import OptionError, ProviderUnavailableError

_NOTHING: Mapping[Provider, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What a caller asks of the engine in this process."""

    provider: str = AUTO
    """`auto`, or a provider's name."""
    precision: str = Precision.FP32
    """`auto`, or one that the bundle has."""
    threads: int | None = None
    """CPU threads of all calls together; None for the physical cores that this process may use."""
    fallback: bool = False
    """Whether the CPU is used where the provider is not available."""
    max_batch: int = 64
    """Largest batch that TensorRT's engines are built for; 64 if it is less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A provider, the precision of each tower, and how they came to be chosen."""

    provider: Provider
    audio: Precision
    text: Precision
    reason: str
    options: EngineOptions
    """What was asked for, to choose again if the provider cannot be loaded."""
    rejected: tuple[str, ...] = ()
    """What would have been faster, with the reason why it was not taken."""

    @property
    def precision(self) -> str:
        """Both precisions in one word, as in fingerprints: `int8`, or `int8+fp32` where text differs."""
        return precision_label(self.audio, self.text)

    def of(self, stage: Stage) -> Precision:
        """The precision of a stage."""
        return self.text if stage is Stage.TEXT else self.audio


def choose(
    options: EngineOptions, machine: Hardware, manifest: Manifest, *, failed: Mapping[Provider, str] = _NOTHING
) -> Choice:
    """Choose the provider and the precision of each tower.

    Args:
        options: What is asked for.
        machine: What this machine has.
        manifest: Of the bundle to run.
        failed: Providers that are listed on this machine and could not be loaded, with the reason; they are not chosen.

    Raises:
        OptionError: If there is no provider or precision of that name, or the bundle lacks the precision.
        ProviderUnavailableError: If the provider is not available here and `options` allow no fallback.
    """
    provider, precision = options.provider, options.precision
    if provider != AUTO and provider not in tuple(Provider):
        raise OptionError(f"provider={provider!r} is not known; choose auto or one of {', '.join(Provider)}.")
    if precision != AUTO and precision not in tuple(Precision):
        raise OptionError(f"precision={precision!r} is not known; choose auto or one of {', '.join(Precision)}.")
    if precision != AUTO:
        for stage in (Stage.AUDIO, Stage.TEXT):
            manifest.graph(stage, Precision(precision))
    rejected: list[str] = []
    for candidate in _candidates(provider, precision, machine):
        refused = _load_failure(candidate, failed) or unavailable_reason(candidate, machine)
        refused = refused or _no_engine(candidate, precision, machine, manifest)
        refused = refused or _audio_objection(candidate, precision, manifest)
        refused = refused or (_not_packed(candidate, manifest) if provider == AUTO else None)
        if refused is None:
            return _choice(candidate, options, machine, manifest, rejected)
        rejected.append(f"{candidate[1]} on {candidate[0]}: {refused}")
    on_cpu = precision == AUTO or Precision(precision) in PRECISIONS[Provider.CPU]
    if provider not in (AUTO, Provider.CPU) and options.fallback and on_cpu:
        fallen = choose(replace(options, provider=Provider.CPU), machine, manifest, failed=failed)
        return replace(fallen, reason=f"fallback, since {'; '.join(rejected)}", rejected=(), options=options)
    asked = ", ".join(
        f'{name}="{value}"' for name, value in (("provider", provider), ("precision", precision)) if value != AUTO
    )
    help_ = _help(options, on_cpu=on_cpu)
    unavailable = f"{asked} cannot be had here" if asked else "No provider can run this bundle here"
    raise ProviderUnavailableError(f"{unavailable}. {'; '.join(rejected)}{help_}.")


def _help(options: EngineOptions, *, on_cpu: bool) -> str:
    """The end of the message of an error: what else could be asked for."""
    if options.provider == AUTO:
        return ""
    if not on_cpu and options.fallback:
        return f', and the CPU does not run {options.precision}: ask for precision="auto"'
    if options.provider == Provider.CPU:
        return '. Or ask for provider="auto"'
    allowing = "allow the CPU with fallback=True (--fallback)"
    return f'. Or ask for provider="auto", or {allowing}' + ("" if on_cpu else ' and precision="auto"')


def _candidates(provider: str, precision: str, machine: Hardware) -> Iterator[Pair]:
    """Pairs of what was asked for, the fastest first."""
    if AUTO not in (provider, precision):
        yield Provider(provider), Precision(precision)
        return
    for pair in _ranking(machine):
        wanted = pair[0] is not Provider.TENSORRT if provider == AUTO else provider == pair[0]
        if wanted and precision in (AUTO, pair[1]):
            yield pair


def _ranking(machine: Hardware) -> Iterator[Pair]:
    """Every pair, the fastest first, as measured: see benchmarks/LOG.md.

    The native engine is ahead of OpenVINO's bf16 with a matrix unit too. Of OpenVINO's own precisions bf16 is first with
    one, since it beat int8 before that had its form for one row. fp32 is onnxruntime's, which is what a bundle's parity
    was measured on.
    """
    for precision in (Precision.FP16, Precision.FP32):
        yield Provider.CUDA, precision
    for precision in (Precision.FP16, Precision.FP32):
        yield Provider.TENSORRT_RTX, precision  # not measured: a GPU at least
    bf16 = (Provider.OPENVINO, Precision.BF16)
    yield Provider.NATIVE, Precision.INT8
    if "amx" in machine.features:
        yield bf16
    yield Provider.OPENVINO, Precision.INT8
    yield Provider.CPU, Precision.INT8
    if "amx" not in machine.features:
        yield bf16
    yield Provider.CPU, Precision.FP32
    yield Provider.OPENVINO, Precision.FP32
    for precision in (Precision.FP16, Precision.FP32):
        yield Provider.TENSORRT, precision
    yield Provider.TENSORRT_RTX, Precision.INT8_SYMMETRIC
    yield Provider.CPU, Precision.INT8_SYMMETRIC  # int8 of another engine: to see what it gives, not to be fast


def _choice(pair: Pair, options: EngineOptions, machine: Hardware, manifest: Manifest, rejected: list[str]) -> Choice:
    chosen, audio = pair
    text = audio if options.precision != AUTO else _text_precision(chosen, machine, manifest)
    if AUTO not in (options.provider, options.precision):
        reason = "asked for"
    elif not rejected:
        reason = "the fastest that there is"
    else:
        reason = "the fastest that this machine and this bundle have"
    if options.precision == AUTO:
        reason += _stand_in_note(chosen, ((Stage.AUDIO, audio), (Stage.TEXT, text)), manifest)
    return Choice(
        provider=chosen,
        audio=audio,
        text=text,
        reason=reason,
        rejected=tuple(rejected),
        options=options,
    )


def _stand_in_note(provider: Provider, towers: tuple[tuple[Stage, Precision], ...], manifest: Manifest) -> str:
    """What to add to a reason where the quality gate had no more than a stand-in for the engine."""
    found = {
        f"; {precision} was judged by {measured_on}, which stood in for {engine}"
        for stage, precision in towers
        if (engine := _engine(provider_of(provider, stage)))
        and (measured_on := manifest.judged_on(stage, precision, engine.lower()))
        and not measured_on.startswith(engine.lower())
    }
    return "".join(sorted(found))


def _text_precision(provider: Provider, machine: Hardware, manifest: Manifest) -> Precision:
    """The fastest precision that the quality gate accepted for text; it need not be that of audio."""
    provider = provider_of(provider, Stage.TEXT)
    for precision in PRECISIONS[provider]:
        pair = provider, precision
        refused = unavailable_reason(pair, machine) or _quality_objection(pair, Stage.TEXT, manifest)
        if provider is Provider.TENSORRT_RTX and not _has_engine(Stage.TEXT, precision, machine, manifest):
            continue
        if refused is None:
            return precision
    return Precision.FP32


def _no_engine(pair: Pair, precision: str, machine: Hardware, manifest: Manifest) -> str | None:
    """Why the bundle's TensorRT-RTX engines do not serve a pair on the first GPU; None if they do, or are not needed."""
    provider, audio = pair
    if provider is not Provider.TENSORRT_RTX:
        return None
    card = machine.cards[0]
    text = audio if precision != AUTO else _text_precision(provider, machine, manifest)
    for stage, one in ((Stage.AUDIO, audio), (Stage.TEXT, text)):
        if not _has_engine(stage, one, machine, manifest):
            return (
                f"the bundle has no TensorRT-RTX engine of its {stage} graph in {one} for this GPU "
                f"({card}); build it: claprt-export tensorrt --bundle FOLDER --cards {card} --precision {one}"
            )
    return None


def _has_engine(stage: Stage, precision: Precision, machine: Hardware, manifest: Manifest) -> bool:
    engine = manifest.engine(stage, precision)
    return engine is not None and machine.cards[0] in engine.cards


def _not_packed(pair: Pair, manifest: Manifest) -> str | None:
    """Why the native engine is not tried unasked: the export found that it does not run the tower, or did not know it."""
    if pair[0] is not Provider.NATIVE or NATIVE_FILE in manifest.files:
        return None
    return "the bundle has no packed weights of its audio tower; export it again, or ask for it by name"


def _audio_objection(pair: Pair, precision: str, manifest: Manifest) -> str | None:
    """Why the quality gate's findings forbid what nobody asked for by name; None if they do not."""
    return None if precision != AUTO else _quality_objection(pair, Stage.AUDIO, manifest)


def _quality_objection(pair: Pair, stage: Stage, manifest: Manifest) -> str | None:
    """Why the quality gate's findings do not speak for a graph on a pair's own engine; None if they do."""
    provider, precision = pair
    if precision not in manifest.graphs[stage]:
        return f"the bundle does not have it (claprt-export --precision fp32,{precision})"
    if not manifest.accepted(stage, precision):
        return "the bundle's quality gate did not accept it"
    engine = _engine(provider)
    if precision is not Precision.FP32 and manifest.judged_on(stage, precision, engine.lower()) is None:
        return f"it was not judged on {engine} when it was exported; export it again on a machine that has it"
    return None


def _engine(provider: Provider) -> str:
    """The runtime of a provider by its own name; in lower case it is the one that the quality gate writes down."""
    return _OWN_RUNTIMES.get(provider, "onnxruntime")


_OWN_RUNTIMES = {Provider.OPENVINO: "OpenVINO", Provider.NATIVE: "native", Provider.TENSORRT_RTX: "TensorRT-RTX"}


def _load_failure(pair: Pair, failed: Mapping[Provider, str]) -> str | None:
    return f"it could not be loaded: {failed[pair[0]]}" if pair[0] in failed else None

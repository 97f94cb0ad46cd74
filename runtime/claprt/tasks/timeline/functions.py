"""`timeline`: one call from a sound to probabilities over time and events."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from claprt.audio.long_audio import dense_policy
from claprt.audio.sound import AudioSource, is_one_source
from claprt.bundle.manifest import Manifest
from claprt.errors import OptionError
from claprt.model.dense import EmbeddedWindows, embed_windows
from claprt.scoring.events import Event, EventOptions, in_order
from claprt.scoring.label_scores import LabelScorer, label_options
from claprt.scoring.track import LabelTrack
from claprt.tasks.models import Model, resolve_model
from claprt.tasks.timeline.result import Timeline


def timeline(
    audio: AudioSource,
    *,
    labels: Sequence[str],
    hop_s: float = 1.0,
    window_s: float | None = None,
    scores: str = "tag",
    background: Sequence[str] = (),
    on: float = 0.5,
    off: float | None = None,
    min_duration_s: float = 0.0,
    merge_s: float = 0.0,
    template: str | None = None,
    model: Model = None,
    sample_rate: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> Timeline:
    """Say what is heard when: probabilities of labels over time, and events.

    The vector of each window is that of `embed_audio` of the window's samples, to the bit, for sounds at the model's rate
    (others are resampled once, as a whole). Sounds of any length; memory holds the vectors, 2 kB a window.

    Args:
        audio: One sound, see `Clap.embed_audio`.
        labels: Any words or sentences. Their vectors are kept for the next call.
        hop_s: Seconds between the starts of two windows, 0.1 to a window. Multiples of 0.01 s share their spectra.
        window_s: Seconds of a window, 0.1 to the model's; None for the model's. Shorter windows tell times more closely,
            and are filled up as short sounds are.
        scores: `tag` for a probability of each label by itself, as `claprt.tag`; `classify` for shares among the labels
            and the background.
        background: With `classify`, labels for everything else, such as "silence": they have no events.
        on: Probability that an event reaches.
        off: Probability below which it has ended; None for 0.8 times `on`.
        min_duration_s: Shortest event, in seconds.
        merge_s: Longest gap between two events of a label that are one, in seconds.
        template: A sentence with `{}` for the label; by default labels are used as they are.
        model: A loaded model, whatever else `claprt.load` takes, or None for the default model.
        sample_rate: Rate of an array in Hz; by default the model's own. Files state theirs.
        progress: Called with the seconds of sound that were read since the last call, from any thread.

    Raises:
        AudioError: If the sound cannot be embedded.
        TextError: If a label is empty or not a string.
        OptionError: If an option is out of range, labels are missing or occur twice, or `audio` is a list.

    Example:
        >>> claprt.timeline("street.wav", labels=["a dog barking", "rain"]).events  # doctest: +SKIP
        (Event(label='a dog barking', onset_s=4.5, offset_s=12.5, peak=0.93, peak_s=8.0),)
    """
    options = EventOptions(on=on, off=off, min_duration_s=min_duration_s, merge_s=merge_s)
    names = label_options(labels, background, scores, template)
    if not is_one_source(audio):
        raise OptionError("timeline takes one sound; call it for each of a list.")
    clap = resolve_model(model)
    policy = dense_policy(clap.manifest.audio, hop_s, window_s)
    scorer = LabelScorer(clap.manifest, names, clap.embed_labels(names.sentences))
    windows = embed_windows(clap, audio, policy, sample_rate, progress)
    return scored_timeline(clap.manifest, clap.fingerprint, windows, policy.hop_s, scorer, options)


def scored_timeline(
    manifest: Manifest,
    fingerprint: str,
    windows: EmbeddedWindows,
    hop_s: float,
    scorer: LabelScorer,
    options: EventOptions,
) -> Timeline:
    """The timeline of a sound whose windows have been embedded.

    Args:
        manifest: Of the model.
        fingerprint: Of the model.
        windows: Vectors of the windows.
        hop_s: Seconds between the starts of two.
        scorer: The labels.
        options: When an event begins and ends.
    """
    track, events = LabelTrack(scorer, options), list[Event]()
    shape = len(windows.vectors), len(scorer.options.labels)
    similarities, probabilities = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for row, (start, vector) in enumerate(zip(windows.starts_s.tolist(), windows.vectors, strict=True)):
        scored = track.push(start + windows.window_s / 2, vector)
        similarities[row], probabilities[row] = scored.similarities, scored.probabilities
        events += scored.events
    events += track.finish(windows.duration_s)
    return Timeline(
        source=windows.source,
        labels=scorer.options.labels,
        starts_s=windows.starts_s,
        probabilities=probabilities,
        similarities=similarities,
        embeddings=windows.vectors,
        events=in_order(events, scorer.options.labels),
        window_s=windows.window_s,
        hop_s=hop_s,
        duration_s=windows.duration_s,
        method=scorer.options.method,
        calibrated=scorer.calibrated,
        options=options,
        fingerprint=fingerprint,
        model_name=manifest.name,
        warning=scorer.warning,
    )

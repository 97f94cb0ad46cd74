"""Labels of timelines and streams: checked against the limits, embedded, ready to score windows."""

from __future__ import annotations

from collections.abc import Sequence

from claprt.bundle.graphs import Stage
from claprt.scoring.label_scores import LabelOptions, LabelScorer, label_options
from claprt.serve.limits import check_count, check_sentences
from claprt.serve.scheduling.service import Service, Times


async def scorer_of(
    service: Service,
    labels: Sequence[str],
    background: Sequence[str],
    scores: str,
    template: str | None,
    times: Times | None = None,
) -> LabelScorer:
    """Embed the labels of a request.

    Args:
        service: Embeds them.
        labels: As the client named them.
        background: Labels for everything else.
        scores: `tag` or `classify`.
        template: A sentence with `{}` for the label, or None.
        times: Takes the time of the text tower.

    Raises:
        OptionError: If there are none, more than the limit, or one occurs twice.
        TextError: If one is too long, or cannot be embedded.
        OtherTowerError: If the service has one tower only.
    """

    def checked() -> LabelOptions:
        check_count(len(labels) + len(background), service.limits.timeline_labels, "labels")
        check_sentences([*labels, *background], template, service.limits)
        return label_options(labels, background, scores, template)

    service.check_tower(Stage.TEXT)
    service.check_tower(Stage.AUDIO)
    options = await service.threads.run(checked)
    texts = await service.embed_cached_texts(options.sentences, times)
    return LabelScorer(service.clap.manifest, options, texts)

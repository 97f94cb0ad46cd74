"""Scores of labels, as functions of vectors: cosines, probabilities, events.

    labels            validation of labels, templates
    vocabulary        whether labels are words that a model was trained on
    classification    scores of labels against each other, `Classification`
    tagging           probability of each tag by itself, `Tagging`
    label_scores      either of them for one vector after the other
    events            events by two thresholds, as probabilities come
    track             labels and events along a sound: what a finished sound and a stream share

Imports `text` and below.
"""

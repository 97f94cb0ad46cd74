"""Training of `mini`, the small CLAP that ships with the package: `python -m claprt_export.mini` (or `make mini`).

    model              the two small towers
    dataset            sounds as log-mels, computed once
    augment            variations of log-mels
    sampler            batches of sounds and captions
    train              contrastive training
    text_finetuning    the text tower against fixed vectors of sounds
    multilabel_set     synthesised sounds with several tags each
    trained_words      words of the captions, for the manifest
    report             the figures of docs/mini.md

Imports every room but `cli`; no other room imports it. docs/mini.md is the model card.
"""

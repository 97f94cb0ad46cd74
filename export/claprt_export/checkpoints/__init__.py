"""Checkpoints: fetched, read without running what they hold, recognised and checked.

    variants               the registry of checkpoints that can be exported by name
    download               files from the Hugging Face hub
    pickle_check           what a checkpoint's pickle would do
    state_dict             the weights in a file
    weight_names           LAION's names from those of each layout
    detect_architecture    the architecture, from the shapes of weights
    checkpoint             `Checkpoint`: read, renamed, recognised, checked
    stored_constants       constants in a checkpoint, compared with computed ones
    random_weights         untrained weights from a seed
    tokenizer              the tokenizer of a bundle

Imports `towers` and below.
"""

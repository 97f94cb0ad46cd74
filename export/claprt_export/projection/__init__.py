"""The learned projection of QDHF: from embeddings to a few behaviour descriptors.

    cli              `claprt-export projection` and `claprt-export train-projection`
    network          the network and its checkpoints
    training_data    embeddings and judgements
    triplets         triplets to train on and to measure with
    train            training by triplets
    coverage         how much of [0, 1] the descriptors use
    graph            the network as an ONNX graph
    install          a projection into a bundle

Imports `parity`, `checkpoints`, `graphs` and below.
"""

"""The learned projection of QDHF: from embeddings to a few behaviour descriptors, trained, checked, put into bundles."""

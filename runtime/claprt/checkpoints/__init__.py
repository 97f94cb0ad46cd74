"""From the name of a model to a bundle: checkpoints are fetched and exported once."""

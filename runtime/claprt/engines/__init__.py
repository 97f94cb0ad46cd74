"""Engines, which run the towers: in this process, or on a Triton server."""

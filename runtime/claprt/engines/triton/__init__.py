"""The engine that runs the towers on a Triton server."""

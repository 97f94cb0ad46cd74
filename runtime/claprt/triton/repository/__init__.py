"""The model repository of a Triton server: written from a bundle, and checked."""

from claprt.triton.repository.builder import SERVED, TOWERS, Build, build, source_folder

__all__ = ["SERVED", "TOWERS", "Build", "build", "source_folder"]

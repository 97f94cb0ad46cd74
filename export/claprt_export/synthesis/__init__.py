"""Synthesised sounds: classes with exact labels, captions, and the samples that ship with the package."""

"""Checkpoints: fetched, read without running what they hold, recognised and checked."""

"""Audio files: recognised by their first bytes, read by libsndfile or FFmpeg, and refused where they are not whole."""

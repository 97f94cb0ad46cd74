"""What the repository's Python models run inside Triton's python backend."""

"""WebSocket endpoint and kromosynth's protocol."""

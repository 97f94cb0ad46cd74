"""The WebSocket protocols."""

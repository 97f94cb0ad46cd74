"""WebSocket protocols.

endpoint      messages in, replies out, for any protocol
kromosynth    kromosynth's protocol for embeddings
"""

"""HTTP: the endpoints, their bodies, and the page."""

"""Scheduling of the service: requests of many clients share the readers and the towers."""

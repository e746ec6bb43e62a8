"""Estimated resources of a run: its units, bytes, objects and memory, before it starts."""

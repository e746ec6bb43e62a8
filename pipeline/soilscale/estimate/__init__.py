"""What a run will take: its units, bytes, objects and memory, before it is run."""

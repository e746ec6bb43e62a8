"""The life of an output: its period, commands, status, the check that it is up to date, and repair."""

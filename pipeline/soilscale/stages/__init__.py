"""The plan of the runner: one file for each stage, in the order in which `runs.commands` runs them."""

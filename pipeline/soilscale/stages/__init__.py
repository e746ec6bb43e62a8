"""What the runner plans: one file for each stage, in the order in which `runs.commands` does them."""

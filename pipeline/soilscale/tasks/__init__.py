"""What a worker does for a unit of work, without knowledge of the configuration."""

"""What a worker does for a unit of work; knows no configuration."""

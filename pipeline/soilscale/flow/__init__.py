"""The order of the stages, and where each product lives; the only place that reads and writes, through storage."""

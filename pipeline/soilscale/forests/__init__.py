"""Trees of a forest as arrays, and their fast traversal."""

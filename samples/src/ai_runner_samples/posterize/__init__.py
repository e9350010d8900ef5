"""The smallest sample: one function."""

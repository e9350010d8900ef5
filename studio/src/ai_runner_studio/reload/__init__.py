"""Which saved files make the pipeline load again."""

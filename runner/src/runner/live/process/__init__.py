"""The pipeline process: frame rings, messages, the parent's handle, the child, the guardian."""

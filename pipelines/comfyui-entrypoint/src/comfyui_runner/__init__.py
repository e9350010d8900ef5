"""Starts the runner with the ComfyUI pipeline."""

"""Starts the runner with the streamdiffusion pipeline."""

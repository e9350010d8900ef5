"""Starts the runner with a pipeline of Daydream Scope."""

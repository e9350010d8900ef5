"""Starts the runner with the pipeline that changes nothing: what an entrypoint package looks like."""

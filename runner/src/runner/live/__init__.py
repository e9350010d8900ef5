"""Live video: pipelines, frames, the pipeline process, streams and the host that joins them."""

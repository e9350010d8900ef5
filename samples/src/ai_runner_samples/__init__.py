"""Sample videos and sample pipelines for AI Runner Studio. Nothing is imported here on purpose."""

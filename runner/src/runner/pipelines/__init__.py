"""What the container's HTTP server serves: pipelines as the network names them."""

"""The routes of the container's HTTP server (contract part 3)."""

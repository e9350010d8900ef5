"""Comic-book look: flat colours and ink lines."""

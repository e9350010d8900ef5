"""Faces that nobody can recognize."""

"""Neon outlines, made of convolutions in torch."""

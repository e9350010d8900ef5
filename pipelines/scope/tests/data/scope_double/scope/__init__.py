"""A double of Daydream Scope: module paths, names and signatures of its registry, nodes, configs and plugins.

Written from its interface (0.2.4) for tests; it has pipelines of its own, no models, and needs no GPU.
"""

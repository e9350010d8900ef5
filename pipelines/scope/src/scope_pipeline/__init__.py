"""Any pipeline of Daydream Scope, by its registry id, as a pipeline of the runner.

Scope is found at run time; nothing here imports it, or torch, before a pipeline is initialized.
"""

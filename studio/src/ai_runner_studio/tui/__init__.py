"""The studio's terminal program. It shows snapshots of a `Session` and calls its verbs; nothing else."""

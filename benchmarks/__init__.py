"""One file per question. Each prints a table, writes JSON to benchmarks/results/, and compares within one run."""

"""Short clips to try a pipeline on; a file's stem is its name as an input. Sources and licences: CREDITS.md."""

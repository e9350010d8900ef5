"""Changed code into a running process: what runs, what has changed, whether it may be put in, and putting it in."""

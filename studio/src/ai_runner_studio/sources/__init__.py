"""Where frames can come from, as the user names it: samples, files, cameras, patterns, URLs."""

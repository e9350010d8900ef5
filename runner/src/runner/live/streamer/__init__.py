"""One stream: a protocol (where frames come from and go to) joined to a guardian."""

"""Pictures in a terminal: taps of the newest frames, what the terminal can do, and the encoders for it."""

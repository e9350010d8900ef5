"""Real-time image-to-image diffusion of video. Importing this package loads nothing heavy."""

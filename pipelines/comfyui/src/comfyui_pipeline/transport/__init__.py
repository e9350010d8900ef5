"""How pictures go to a ComfyUI server and come back: `SharedMemory` on this machine, `Upload` to any."""

"""The machine: device, memory, randomness, files, folders, processes, progress."""

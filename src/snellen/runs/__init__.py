"""Recipe and Run: the settings of a training run, and its results."""

"""Recipe and Run: the settings of a training, and what it left behind."""

"""Reports about runs and images, for people to read."""

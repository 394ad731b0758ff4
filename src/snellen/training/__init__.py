"""ImageSet + Recipe -> Run: the training loop and its parts."""

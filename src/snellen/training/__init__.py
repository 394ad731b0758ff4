"""ImageSet + Recipe -> Run: the loop and its parts."""

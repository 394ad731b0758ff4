"""What a person reads about runs and images."""

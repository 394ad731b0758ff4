"""ImageSet: decoded images with ids, labels and splits, and the functions that create it."""

"""ImageSet: decoded images with ids, labels and splits, and the verbs that make it."""

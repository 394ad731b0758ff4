"""Networks, the Classifier that wraps them, and the model file."""

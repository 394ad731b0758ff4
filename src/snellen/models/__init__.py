"""Networks, the Classifier around them, and the model file."""

"""From raw files to a checked submission, and to Kaggle."""

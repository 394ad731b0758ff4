"""Model + images -> probabilities, and every score that comes from them."""

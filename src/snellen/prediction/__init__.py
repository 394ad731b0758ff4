"""Model + images -> probabilities, and all scores computed from them."""

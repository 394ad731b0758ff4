"""What `serve` serves: one page, and the JSON interface that it uses."""

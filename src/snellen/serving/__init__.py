"""Models for other programs: a web page with a JSON API, and exported files."""

"""Figures and the parts of HTML pages: numbers in, pictures out."""

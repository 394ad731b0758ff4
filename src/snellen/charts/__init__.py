"""Figures and the parts of HTML pages."""

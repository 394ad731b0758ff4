"""Raw files of any shape -> a Source: rows, labels, and how to read the pixels."""

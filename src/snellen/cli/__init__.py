"""The command line: the verbs with their arguments, and the terminal display."""

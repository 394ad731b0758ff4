"""The command line: the verbs with their arguments, and what a terminal shows."""

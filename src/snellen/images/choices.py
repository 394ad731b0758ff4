"""Allowed values and defaults of prepared images. The command line reads them without importing numpy."""

SPLITS = ("train", "valid", "test")
TRAIN_ON = {"train": ("train",), "train+valid": ("train", "valid")}  # what a training may use
VALID_SHARE = 0.1  # of the smallest class
SPLIT_RULES = ("proportional", "seeds")  # see `choose_valid`; the first is the default of all but `organize`
SMALLEST = 16  # pixels, side of the smallest images that every network takes
LEAST, LARGEST = 4, 1024  # pixels, sides that can be prepared
LINKS = ("copy", "hard", "symbolic")

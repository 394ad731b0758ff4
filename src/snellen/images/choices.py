"""Allowed values and defaults of prepared images. The command line reads them without importing numpy."""

SPLITS = ("train", "valid", "test")
TRAIN_ON = {"train": ("train",), "train+valid": ("train", "valid")}  # the splits that training may use
VALID_SHARE = 0.1  # of the smallest class
SPLIT_RULES = ("proportional", "seeds")  # see `choose_valid`; the first is the default except in `organize`
SMALLEST = 16  # pixels: side of the smallest images that every network accepts
PHOTOGRAPH = 96  # pixels: images with a shorter side of this or more count as photographs
LEAST, LARGEST = 4, 1024  # pixels: range of allowed sides
LINKS = ("copy", "hard", "symbolic")

"""Which sizes of images there are."""

SMALLEST = 16  # pixels, side of the smallest images that every network takes
LEAST, LARGEST = 4, 1024  # pixels, sides that can be prepared

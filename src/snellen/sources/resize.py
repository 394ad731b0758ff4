"""How a picture that is not square becomes square: plain data, stored in prepared images and in model files."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHOICES = {
    "crop": "scale the shorter side and crop the centre",
    "pad": "scale the longer side and add a border on both sides",
    "stretch": "scale both sides, which distorts the picture",
}
BORDER = (124, 116, 104)  # red, green, blue: the mean colour of ImageNet's training images


@dataclass(frozen=True)
class Resize:
    """The way to make a picture square, and the colour of the border that "pad" adds."""

    how: str = "crop"  # a key of CHOICES
    border: tuple[int, int, int] = BORDER

    def __post_init__(self) -> None:
        if self.how not in CHOICES:
            raise ValueError(f"unknown way to resize: {self.how!r}")
        if len(self.border) != 3 or not all(type(value) is int and 0 <= value <= 255 for value in self.border):
            raise ValueError(f"the border {self.border!r} is not a colour")

    def side(self, width: int, height: int) -> int:
        """Return the side of the picture that is scaled to the size of the image, in pixels."""
        return max(width, height) if self.how == "pad" else min(width, height)

    def __str__(self) -> str:
        return CHOICES[self.how] + (" in the colour {}, {}, {}".format(*self.border) if self.how == "pad" else "")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"how": self.how} | ({"border": list(self.border)} if self.how == "pad" else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> "Resize":
        """Return what `to_dict` stored; by default the centre is cropped. Raises ValueError or TypeError."""
        values = values or {}
        return cls(values.get("how", "crop"), tuple(values.get("border", BORDER)))


CROP = Resize()

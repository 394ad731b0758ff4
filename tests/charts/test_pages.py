"""Pictures in pages stay small."""

import base64
import io

from PIL import Image

from made import noise
from snellen.charts.pages import picture


def test_large_pictures_are_scaled_down_for_the_page():
    data = base64.b64decode(picture(noise(1, 800)[0, :, :400].copy()).partition(",")[2])
    assert Image.open(io.BytesIO(data)).size == (160, 320)

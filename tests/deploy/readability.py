"""Whether each text in the picture of a page can be read, independently of fonts and the version of the browser."""

from functools import cache

from deploy.local.process import REPOSITORY
from tests.deploy.browser import SCALE, Box, Rendering

PHONE, DESKTOP = 390, 1280
"""Widths of a window."""
MIN_CONTRAST = 4.5
"""The minimum contrast of text in the Web Content Accessibility Guidelines, level AA."""
_PICTURES = REPOSITORY / ".pictures"
Colour = tuple[int, int, int]


def save_picture(rendering: Rendering, name: str, width: int, *, dark: bool) -> None:
    """Keep a picture, for people to look at."""
    _PICTURES.mkdir(exist_ok=True)
    file = _PICTURES / f"{name.replace(' ', '-')}-{width}-{'dark' if dark else 'light'}.png"
    file.write_bytes(rendering.png)


def find_unreadable(rendering: Rendering, width: int) -> list[str]:
    """Everything that is too wide, sticks out, lacks contrast or lies over something else."""
    found = [f"it is {rendering.width} wide in a window of {width}"] if rendering.width > width else []
    for text in rendering.texts:
        for box in text.boxes:
            if box[0] < 0 or box[1] < 0 or box[2] > width + 0.5:
                found.append(f"sticks out: {text.text}")
            elif (contrast := contrast_in(rendering, box)) < MIN_CONTRAST:
                found.append(f"contrast {contrast:.1f}: {text.text}")
    found += [f"one over the other: {one}, {other}" for one, other in find_overlapping(rendering)]
    return found


def is_dark(rendering: Rendering, width: int) -> bool:
    """Whether the page has a dark ground."""
    return luminance(max(count_colours(rendering, (0, 0, width, 4)))) < 0.1


def contrast_in(rendering: Rendering, box: Box) -> float:
    """The contrast in a box between its most frequent colour and the colour that differs most from it."""
    colours = count_colours(rendering, box)
    ground = luminance(max(colours, key=lambda colour: colours[colour]))
    lights = [luminance(colour) for colour in colours]
    return max((max(light, ground) + 0.05) / (min(light, ground) + 0.05) for light in lights)


def count_colours(rendering: Rendering, box: Box) -> dict[Colour, int]:
    """The number of pixels of each colour in a box."""
    left, top, right, bottom = (edge * SCALE for edge in box)
    part = rendering.picture.crop((int(left), int(top), int(right) + 1, int(bottom) + 1))
    counted: list[tuple[int, Colour]] | None = part.getcolors(maxcolors=part.width * part.height)  # type: ignore[assignment] # RGB
    return {colour: count for count, colour in counted or ()}


@cache
def luminance(colour: Colour) -> float:
    """The relative luminance of sRGB, between 0 and 1."""
    shares = (value / 255 for value in colour)
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def find_overlapping(rendering: Rendering) -> list[tuple[str, str]]:
    """Texts that overlap by more than a pixel of rounding."""
    boxes = sorted(((text.text, box) for text in rendering.texts for box in text.boxes), key=lambda each: each[1][1])
    found = []
    for number, (one, a) in enumerate(boxes):
        for other, b in boxes[number + 1 :]:
            if b[1] >= a[3] - 1:
                break  # it and all after it begin below
            if min(a[2], b[2]) - max(a[0], b[0]) > 1 and min(a[3], b[3]) - b[1] > 1:
                found.append((one, other))
    return found

"""Writes the photos that the Rust tests decode and prepare: `python -m dyrelu_tools.goldens_images --help`.

preprocess/ has the sources, Pillow's results for the settings in cases.json, and the pixels of Pillow's JPEG decoder for
a photo. Sizes and offsets of crops are computed as in torchvision.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from PIL import Image

PHOTOS = Path(__file__).resolve().parents[2] / "examples" / "photos"

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# Shrunk and enlarged, by integer and other factors, with the proportions kept and to a given size, with and without a crop.
SETTINGS = {
    "down": {"resize": {"shorter_side": 37}, "center_crop": [32, 32]},
    "up": {"resize": {"shorter_side": 101}, "center_crop": [48, 55]},
    "squeezed": {"resize": {"exact": [40, 30]}},
}


def resized(image: Image.Image, resize: dict, interpolation: str) -> Image.Image:
    """torchvision's Resize of a Pillow image, which rounds the longer side down."""
    if "exact" in resize:
        height, width = resize["exact"]
    else:
        short, long = sorted(image.size)
        side = resize["shorter_side"]
        width, height = side, side * long // short
        if image.width > image.height:
            width, height = height, width
    return image.resize((width, height), FILTERS[interpolation])


def cropped(image: Image.Image, size: list[int]) -> Image.Image:
    """torchvision's CenterCrop of an image that is large enough. Offsets are rounded half to even."""
    height, width = size
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def prepared(image: Image.Image, settings: dict, interpolation: str) -> Image.Image:
    image = resized(image.convert("RGB"), settings["resize"], interpolation)
    return cropped(image, settings["center_crop"]) if "center_crop" in settings else image


def pattern() -> Image.Image:
    """A test pattern for resamplers: rings that become narrower, hard edges and single bright pixels."""
    width, height = 61, 47
    image = Image.new("RGB", (width, height))
    for y in range(height):
        for x in range(width):
            rings = 127.5 + 127.5 * math.cos((x * x + y * y) / 40)
            checks = 255 if (x // 5 + y // 7) % 2 else 0
            dots = 255 if x % 6 == y % 6 == 0 else 0
            image.putpixel((x, y), (round(rings), checks, dots))
    return image


def unusual(out: Path) -> None:
    """Writes a CMYK photo, as for print, and a photo with an orientation, as of a camera."""
    Image.new("RGB", (20, 10), (0, 0, 255)).convert("CMYK").save(out / "cmyk-blue.jpg", quality=95)
    halves = Image.new("RGB", (32, 16), (0, 0, 255))
    halves.paste((255, 0, 0), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # The orientation: rotate by 90 degrees clockwise to display.
    halves.save(out / "turned.jpg", quality=95, exif=exif)


def preparations(out: Path) -> None:
    out.mkdir(exist_ok=True)
    church = Image.open(PHOTOS / "church.jpg").convert("RGB")
    sources = {"photo": church.crop((60, 90, 145, 153)), "pattern": pattern()}
    cases = []

    def write(name: str, source: str, settings: dict, result: Image.Image) -> None:
        result.save(out / f"{name}.png", optimize=True)
        cases.append({"name": name, "source": source, "preprocess": settings})

    for source, image in sources.items():
        image.save(out / f"{source}.png", optimize=True)
        for title, settings in SETTINGS.items():
            for interpolation in FILTERS:
                result = prepared(image, settings, interpolation)
                with_filter = {**settings, "interpolation": interpolation}
                write(f"{source}-{title}-{interpolation}", f"{source}.png", with_filter, result)
    # Decoders treat the border of subsampled colours differently for even and odd sizes.
    even = sources["photo"].crop((0, 0, 62, 30))
    for title, image, subsampling, progressive in (
        ("444", sources["photo"], "4:4:4", False),
        ("420", sources["photo"], "4:2:0", False),
        ("even-422", even, "4:2:2", False),
        ("even-420", even, "4:2:0", False),
        ("even-420-progressive", even, "4:2:0", True),
    ):
        name = f"photo-{title}"
        path = out / f"{name}.jpg"
        image.save(path, quality=85, subsampling=subsampling, progressive=progressive)
        write(f"{name}-decoded", f"{name}.jpg", {}, Image.open(path).convert("RGB"))
    (out / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    unusual(out)
    preparations(out / "preprocess")


if __name__ == "__main__":
    main()

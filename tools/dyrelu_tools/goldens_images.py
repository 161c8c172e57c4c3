"""Writes the photos that the Rust tests decode: `python -m dyrelu_tools.goldens_images --out tests/images`."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10), (0, 0, 255)).convert("CMYK").save(out / "cmyk-blue.jpg", quality=95)
    halves = Image.new("RGB", (32, 16), (0, 0, 255))
    halves.paste((255, 0, 0), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn by 90 degrees clockwise to see it upright.
    halves.save(out / "turned.jpg", quality=95, exif=exif)


if __name__ == "__main__":
    main()

"""Writes the small arrays and photos that fuzzing starts from.

    python -m dyrelu_tools.fuzz_seeds --out ../fuzz/seeds
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image


def arrays(folder: Path) -> None:
    numbers = np.arange(6).reshape(2, 3)
    np.save(folder / "f4.npy", numbers.astype("<f4"))
    np.save(folder / "i8-big.npy", numbers.astype(">i8"))
    np.save(folder / "f2-columns.npy", np.asfortranarray(numbers.astype("<f2")))
    np.save(folder / "bool.npy", numbers % 2 == 0)


def photos(folder: Path) -> None:
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3) * 2
    picture = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "progressive.jpg", progressive=True, exif=exif)
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.convert("P").save(folder / "palette.png")
    picture.convert("LA").save(folder / "alpha.png")
    picture.save(folder / "picture.bmp")
    picture.save(folder / "picture.gif")
    picture.save(folder / "lossy.webp")
    picture.save(folder / "lossless.webp", lossless=True)
    picture.save(folder / "plain.tif")
    for compression in ("tiff_lzw", "packbits"):
        picture.save(folder / f"{compression}.tif", compression=compression)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    out = parser.parse_args().out
    for name, write in (("arrays", arrays), ("photos", photos)):
        (out / name).mkdir(parents=True, exist_ok=True)
        write(out / name)


if __name__ == "__main__":
    main()

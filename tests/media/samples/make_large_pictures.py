"""Makes the pictures of 48 million pixels in this folder, as large as phones take them: one colour, a few kilobytes each."""

from pathlib import Path

import pillow_heif
from PIL import Image

FOLDER = Path(__file__).parent


def main() -> None:
    """Write one in each format whose decoder needs the whole picture."""
    pillow_heif.register_heif_opener()
    picture = Image.new("RGB", (8064, 6048), "teal")
    picture.save(FOLDER / "phone.heic", quality=40)
    picture.save(FOLDER / "phone.avif", quality=40, speed=10)
    picture.save(FOLDER / "phone.webp", lossless=True, method=0)


if __name__ == "__main__":
    main()

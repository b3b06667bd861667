"""Makes docs/images/demo.png from a finished run of the demo: its first two clips, one above the other.

python scripts/make_readme_picture.py save/demo/RUN
"""

import sys
from pathlib import Path

from PIL import Image

TARGET = Path(__file__).parents[1] / "docs" / "images" / "demo.png"


def main() -> None:
    """Stack the pictures of the run's first two clips."""
    pictures = [Image.open(Path(sys.argv[1]) / "figures" / f"clip_{number}.png") for number in (1, 2)]
    whole = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
    top = 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    whole.quantize(256).save(TARGET, optimize=True)


if __name__ == "__main__":
    main()

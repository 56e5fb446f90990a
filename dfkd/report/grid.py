"""Images as files: a grid with captions, and one lossless PNG each."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dfkd.report.wrapped import PixelArray, wrapped
from dfkd.training.files import replacing

CELL = 112  # pixels: small images are enlarged by the largest whole factor that stays within
PAGE = 1020  # pixels: a grid gets as many columns as fit into this width
GAP, MARGIN, LINE = 12, 20, 17
INK, PAPER = (24, 24, 27), (255, 255, 255)


def write_grid(
    path: Path | str,
    images: Tensor,
    captions: Sequence[str],
    columns: int | None = None,
    title: str | None = None,
) -> Path:
    """Draw images with a caption under each; every source pixel becomes a k x k square.

    Args:
        path: the PNG to write.
        images: N x C x H x W float in [0, 1]; of other than 1 or 3 channels the leading
            ones are shown.
        captions: N texts; long ones wrap to two lines, then end in an ellipsis.
        columns: images in a row; without it, as many as fit a page.
        title: a heading over the grid; which of many channels are shown stands there as well.

    Raises:
        ValueError: there is no image, or their number is not that of the captions.
    """
    pixels = [showable(image) for image in to_uint8(images)]
    if not pixels or len(pixels) != len(captions):
        raise ValueError(f"{len(pixels)} images and {len(captions)} captions: need as many, not 0")
    height, width = pixels[0].shape[:2]
    factor = max(1, CELL // max(height, width))
    cell_width, cell_height = max(width * factor, 64), height * factor
    columns = columns or min(len(pixels), max(1, (PAGE - 2 * MARGIN + GAP) // (cell_width + GAP)))

    plain, bold = _font("DejaVuSans", 13), _font("DejaVuSans-Bold", 16)
    texts = [_wrap(caption, plain, cell_width) for caption in captions]
    row_height = cell_height + 6 + LINE * max(map(len, texts)) + GAP
    page_width = 2 * MARGIN + columns * (cell_width + GAP) - GAP
    title = "; ".join(filter(None, [title, shown_channels(images.shape[1])]))
    heading = _wrap(title, bold, page_width - 2 * MARGIN) if title else []
    top = MARGIN + (22 * len(heading) + 10 if heading else 0)
    rows = -(-len(pixels) // columns)
    canvas = Image.new("RGB", (page_width, top + rows * row_height - GAP + MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)
    for line, text in enumerate(heading):
        draw.text((MARGIN, MARGIN - 3 + 22 * line), text, font=bold, fill=INK)
    for index, (picture, lines) in enumerate(zip(pixels, texts, strict=True)):
        left = MARGIN + index % columns * (cell_width + GAP)
        upper = top + index // columns * row_height
        # torchvision's grids have equal gaps and no captions.
        enlarged = picture.repeat(factor, axis=0).repeat(factor, axis=1)
        canvas.paste(Image.fromarray(enlarged).convert("RGB"), (left, upper))
        for line, text in enumerate(lines):
            corner = (left, upper + cell_height + 5 + LINE * line)
            draw.text(corner, text, font=plain, fill=INK)
    path = Path(path)
    with replacing(path) as part:
        canvas.save(part, "PNG", optimize=True)
    return path


def write_images(directory: Path | str, images: Tensor, labels: Sequence[int]) -> list[Path]:
    """Write ``images/{index:05d}_class{label}.png`` under ``directory``, 8 bits, lossless.

    Args:
        directory: a run's directory.
        images: N x C x H x W float in [0, 1], C of 1 or 3.
        labels: N class indices.

    Raises:
        ValueError: PNG cannot hold the channels, or the number of labels is not that of images.
    """
    if images.shape[1] not in (1, 3):
        raise ValueError(f"PNG holds images of 1 or 3 channels, not {images.shape[1]}")
    folder = Path(directory) / "images"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, (picture, label) in enumerate(zip(to_uint8(images), labels, strict=True)):
        paths.append(folder / f"{index:05d}_class{int(label)}.png")
        with replacing(paths[-1]) as part:
            Image.fromarray(leading(picture)).save(part, "PNG")
    return paths


def to_uint8(images: Tensor) -> PixelArray:
    """Round N x C x H x W floats in [0, 1] to N x H x W x C bytes."""
    pixels = images.detach().float().clamp(0, 1).mul(255).round().byte()
    array: PixelArray = pixels.permute(0, 2, 3, 1).cpu().numpy()
    return array


def showable(picture: PixelArray) -> PixelArray:
    """Return what Pillow can show of H x W x C bytes: the leading three channels, or one.

    Rows that are far longer than the picture is high are wrapped.
    """
    return leading(wrapped(picture))


def leading(picture: PixelArray) -> PixelArray:
    """Return the leading three channels of H x W x C bytes, or one."""
    return picture[..., :3] if picture.shape[-1] >= 3 else picture[..., 0]


def shown_channels(channels: int) -> str:
    """Say which channels a picture shows; "" where those are all.

    >>> shown_channels(3), shown_channels(2), shown_channels(13)
    ('', 'the first of 2 channels', 'the first 3 of 13 channels')
    """
    if channels in (1, 3):
        return ""
    return f"the first {'3 ' if channels > 3 else ''}of {channels} channels"


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    # matplotlib carries this font with it: the same letters on every machine.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf" / f"{name}.ttf", size)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int, most: int = 2) -> list[str]:
    """Break at spaces to at most ``most`` lines of ``width`` pixels; cut what is still longer."""
    lines = [""]
    for paragraph in text.split("\n"):
        for word in paragraph.split():
            longer = f"{lines[-1]} {word}".strip()
            if not lines[-1] or len(lines) == most or font.getlength(longer) <= width:
                lines[-1] = longer
            else:
                lines.append(word)
        if len(lines) < most:
            lines.append("")
    return [_cut(line, font, width) for line in lines if line] or [""]


def _cut(line: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line.rstrip() + "…"

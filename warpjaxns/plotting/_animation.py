"""Animations of vorticity."""

from pathlib import Path

import numpy as np
from jaxtyping import Array, Float

from .._checks import check_count, check_grid, check_positive
from .._grid import Grid
from ._maps import closed, vorticity
from ._notebook import Film


def animation(
    grid: Grid,
    frames: Float[Array | np.ndarray, "frames ny nx"],
    path: str | Path,
    *,
    times: Float[Array | np.ndarray, " frames"] | None = None,
    limit: float | None = None,
    title: str | None = None,
    units: str | None = "1/time",
    label: str = r"$\omega$",
    frames_per_second: float | int = 20,
    dpi: int = 100,
    progress: bool = True,
) -> Film:
    """Write an animation of a vorticity field, one picture a frame, all in the same colours.

    The suffix of `path` selects the format: ``.gif`` through Pillow, which comes with Matplotlib, or ``.mp4`` (H.264),
    which needs ffmpeg. A GIF counts time in hundredths of a second: 20, 25 and 50 frames a second are exact, 30 are
    not.

    Args:
        grid: the box.
        frames: the fields ``(frames, ny, nx)``, such as ``solver.rollout(omega0, steps=1000, save_every=10)``.
        path: the file to write. Its folder must exist.
        times: of the frames ``(frames,)`` [time], shown above the map; None for the number of each frame.
        limit: the value of the strongest colour, positive; None for the largest magnitude in all frames.
        title: shown before the time, or None.
        units: of the field, at the colour bar; None for no colour bar.
        label: the field's name at the colour bar.
        frames_per_second: speed, positive.
        dpi: pixels an inch. The picture is about 6 inches wide.
        progress: whether to show a progress bar on a terminal.

    Returns:
        The film, which a notebook shows.

    Raises:
        ValueError: the suffix is another, a shape does not fit, there are no frames, or a number is out of range.
        FloatingPointError: a frame is not finite. Nothing is written.
        FileNotFoundError: the folder does not exist.
        RuntimeError: ``.mp4`` without ffmpeg.
    """
    from matplotlib.figure import Figure
    from tqdm import tqdm

    path = Path(path)
    check_grid(grid)
    check_positive("frames_per_second", frames_per_second)
    check_count("dpi", dpi, least=10)
    write = _writer(path)
    frames = _checked_frames(grid, frames)
    captions = _captions(times, len(frames), title)
    if limit is None:
        limit = float(np.abs(frames).max()) or 1.0

    height, width = grid.extent
    figure = Figure(figsize=(6.2, 0.9 + 5 * min(max(height / width, 0.3), 2)), dpi=dpi, layout="constrained")
    image = vorticity(figure.subplots(), grid, frames[0], title=captions[0], limit=limit, units=units, label=label)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # so that nothing moves from one frame to the next

    def scenes():
        """Draw one frame after another on the figure."""
        for frame, caption in zip(tqdm(frames, desc=path.name, disable=not progress or None), captions, strict=True):
            image.set_data(closed(frame))
            image.axes.set_title(caption)
            yield

    write(path, figure, scenes(), frames_per_second)
    return Film(path)


def _writer(path):
    from matplotlib.animation import FFMpegWriter

    writers = {".gif": _write_gif, ".mp4": _write_mp4}
    suffix = path.suffix.lower()
    if suffix not in writers:
        raise ValueError(f"path={str(path)!r}: expected a name that ends in {' or '.join(writers)}")
    if suffix == ".mp4" and not FFMpegWriter.isAvailable():
        raise RuntimeError(f"path={str(path)!r}: MP4 needs ffmpeg, which was not found; install it, or write a .gif")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path={str(path)!r}: the folder {str(path.parent)!r} does not exist")
    return writers[suffix]


def _write_gif(path, figure, scenes, frames_per_second):
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    # One palette for all frames, of the map's colours and of greys for letters: adaptive ones would flicker.
    colours = np.concatenate([colormaps["RdBu_r"](np.linspace(0, 1, 224)), colormaps["gray"](np.linspace(0, 1, 32))])
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.round(255 * colours[:, :3]).astype(np.uint8).tobytes())
    canvas, pictures = FigureCanvasAgg(figure), []
    for _ in scenes:
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        pictures.append(picture.quantize(palette=palette, dither=Image.Dither.NONE))
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=1000 / frames_per_second, loop=0)


def _write_mp4(path, figure, scenes, frames_per_second):
    from matplotlib.animation import FFMpegWriter

    writer = FFMpegWriter(fps=frames_per_second, codec="h264")
    with writer.saving(figure, str(path), figure.dpi):
        for _ in scenes:
            writer.grab_frame()


def _checked_frames(grid, frames):
    frames = np.asarray(frames)
    if frames.ndim != 3 or frames.shape[1:] != grid.shape or not len(frames):
        ny, nx = grid.shape
        raise ValueError(f"frames has shape {frames.shape}: expected (frames, ny, nx) = (1 or more, {ny}, {nx})")
    finite = np.isfinite(frames).all(axis=(1, 2))
    if not finite.all():
        first = int(np.argmin(finite))
        raise FloatingPointError(f"frames[{first}] is not finite; {np.sum(finite)} of {len(frames)} frames are")
    return frames


def _captions(times, count, title):
    """Return the text above each frame, all times with the same number of digits."""
    if times is None:
        captions = [f"frame {i} of {count}" for i in range(1, count + 1)]
    else:
        times = np.asarray(times, np.float64)
        if times.shape != (count,):
            raise ValueError(f"times has shape {times.shape}: expected one a frame, ({count},)")
        digits = _digits(times)
        captions = [f"t = {t:.{digits}f}" for t in times]
    return [caption if title is None else f"{title}, {caption}" for caption in captions]


def _digits(times):
    """Return the decimals that show `times` to a fiftieth of the shortest interval between them."""
    intervals = np.abs(np.diff(times))
    accuracy = min(intervals[intervals > 0], default=max(abs(times[0]), 1.0)) / 50
    return next((digits for digits in range(9) if np.all(np.abs(np.round(times, digits) - times) <= accuracy)), 9)

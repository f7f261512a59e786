"""A camera that sends each frame to the encoder at once."""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ..errors import LungsegError
from ..writing import written_whole

VIDEO_OPTIONS = ["-crf", "20", "-preset", "veryfast", "-movflags", "+faststart"]

# smaller, because a GIF is large; and a palette for each frame, so that no frame has to be kept until the end
GIF_OPTIONS = [
    "-filter_complex",
    "scale=iw*2/3:-1,split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1",
]

WEBP_OPTIONS = ["-loop", "0", "-quality", "80", "-compression_level", "5"]

KINDS = {
    ".mp4": ("libx264", "yuv420p", VIDEO_OPTIONS),
    ".gif": ("gif", "pal8", GIF_OPTIONS),
    ".webp": ("libwebp_anim", "yuv420p", WEBP_OPTIONS),
}
"""Codec, pixel format and options of the encoder, by the file's ending."""


class FilmCamera:
    """A camera such as celluloid's, whose ``snap`` sends the frame to ``path``, not keeping its artists.

    The ending of ``path`` is one of :data:`KINDS`.

    ``figure`` lies over the pictures like a slide: what it holds is drawn once, but for
    ``moving``, the artists that change from frame to frame. Use it as a context manager:
    the file appears when the film is complete. Raises OSError where it cannot be written to its end.
    """

    def __init__(self, figure: Figure, moving: Sequence[Artist], path: Path, frames_per_second: float = 10) -> None:
        self.figure = figure
        self.moving = list(moving)
        figure.patch.set_alpha(0)
        self.canvas = FigureCanvasAgg(figure)
        for artist in self.moving:
            artist.set_animated(True)
        self.canvas.draw()
        self.slide = self.canvas.copy_from_bbox(figure.bbox)
        self.size = self.canvas.get_width_height()
        codec, pixels, options = KINDS[Path(path).suffix]
        self.path, self.file = Path(path), written_whole(path)
        self.partial = Path(self.file.__enter__())
        self.encoder = imageio_ffmpeg.write_frames(
            str(self.partial),
            self.size,
            pix_fmt_in="rgb24",
            pix_fmt_out=pixels,
            fps=frames_per_second,
            codec=codec,
            macro_block_size=1,
            quality=None,
            ffmpeg_log_level="error",
            output_params=options,
        )
        try:
            self.encoder.send(None)
        except RuntimeError as error:
            raise LungsegError(f"{path}: no ffmpeg is there to film it; see 'lungseg doctor'") from error

    def snap(self, picture: np.ndarray, times: int = 1) -> None:
        """Send ``picture``, (height, width, 3) uint8, with slide and moving artists over it, for ``times`` frames."""
        self.canvas.restore_region(self.slide)
        for artist in self.moving:
            self.figure.draw_artist(artist)
        drawn = np.asarray(self.canvas.buffer_rgba())
        # few pixels are drawn on, and only they have to be mixed
        rows, columns = np.nonzero(drawn[..., 3])
        over = drawn[rows, columns].astype(np.float32)
        share = over[:, 3:] / 255
        picture = picture.copy()
        picture[rows, columns] = share * over[:, :3] + (1 - share) * picture[rows, columns]
        for _ in range(times):
            self.encoder.send(picture.tobytes())

    def __enter__(self) -> FilmCamera:
        return self

    def __exit__(self, *error: Any) -> None:
        self.encoder.close()
        if not any(error):
            try:
                self._require_film()
            except OSError:
                self.file.__exit__(*sys.exc_info())
                raise
        self.file.__exit__(*error)

    def _require_film(self) -> None:
        """Raise OSError where the encoder has not come to its end, which nobody else says."""
        try:
            if self.partial.suffix == ".mp4":
                # its table of frames is written last
                with contextlib.closing(imageio_ffmpeg.read_frames(str(self.partial))) as frames:
                    next(frames)
                return
            # ffmpeg reads no WebP that moves, and of a GIF what is there
            with Image.open(self.partial) as film:
                film.seek(film.n_frames - 1)
                film.load()
            if self.partial.suffix == ".gif" and not self.partial.read_bytes().endswith(b";"):
                raise EOFError("a GIF ends with a semicolon")
        except Exception as error:  # Pillow raises what a damaged file leads to
            raise OSError(errno.ENOSPC, "the film could not be written to its end", str(self.path)) from error

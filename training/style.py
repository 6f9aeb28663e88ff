"""How pictures look: matplotlib's objects, a font that has Korean, quiet lines."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

from matplotlib import font_manager, rc_context

INK, MUTED, LINE = "#14181c", "#5f6b76", "#dfe3e7"


@contextmanager
def styled() -> Iterator[None]:
    """Draw in our style, whatever the user's own settings are."""
    package = metadata.distribution("koreanize-matplotlib")  # imported, it would set up pyplot
    for name in ("NanumGothic.ttf", "NanumGothicBold.ttf"):
        font = str(package.locate_file(f"koreanize_matplotlib/fonts/{name}"))
        if all(each.fname != font for each in font_manager.fontManager.ttflist):
            font_manager.fontManager.addfont(font)
    with (
        warnings.catch_warnings(),
        rc_context(
            {
                "font.family": "NanumGothic",
                "font.size": 11,
                "text.color": INK,
                "axes.labelcolor": MUTED,
                "axes.edgecolor": LINE,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.unicode_minus": False,
                "xtick.color": MUTED,
                "ytick.color": MUTED,
                "figure.facecolor": "white",
                "svg.hashsalt": "deepbot",
            }
        ),
    ):
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name may hold 🙂
        yield

"""Files of a data folder, all of them written before the first one takes its place."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from training.errors import TrainingError, TrainingInputError


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Give a folder to write to; what is in it comes to stand in `folder` at the end, or nothing.

    Raises `TrainingInputError` where `folder` is none, `TrainingError` where it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        msg = f"폴더가 아니에요: {folder}"
        raise TrainingInputError(msg)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = Path(mkdtemp(prefix=".part-", dir=folder))
        try:
            yield part
            for path in sorted(part.iterdir()):
                path.replace(folder / path.name)
        finally:
            rmtree(part)
    except OSError as error:
        msg = f"폴더에 쓸 수 없어요: {folder} ({error.strerror or error})"
        raise TrainingError(msg) from error

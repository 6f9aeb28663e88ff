"""What a command says beside its output, on standard error: sentences and progress bars."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Say = Callable[[str], None]
Advance = Callable[[int], None]  # by how many


def tell(line: str) -> None:
    """Say a sentence on standard error."""
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(line)


@contextmanager
def counting(what: str, total: int) -> Iterator[Advance]:
    """Show how many of `total` are done and how long the rest will take, where somebody looks."""
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        *(TimeElapsedColumn(), TextColumn("남은 시간"), TimeRemainingColumn()),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)

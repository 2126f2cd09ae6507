"""One line of progress for a training run: epochs done, time left, the last score."""

from rich.progress import Progress


class EpochBar:
    """A task on the caller's progress display; silent without one.

    Args:
        progress: where to show; its columns are the caller's.
        title: what is being trained, such as ``train yolov8n``.
        epochs: how many there will be.
    """

    def __init__(self, progress: Progress | None, title: str, epochs: int) -> None:
        self.progress = progress
        self.title = title
        self.row = progress.add_task(title, total=epochs) if progress else None

    def show(self, epochs_done: int, score: str = "") -> None:
        """Show that ``epochs_done`` epochs are done, with the score such as ``mAP50-95 0.41``."""
        if self.progress is not None and self.row is not None:
            self.progress.update(self.row, completed=epochs_done, description=f"{self.title} {score}".rstrip())

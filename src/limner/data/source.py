"""What every kind of source is; `limner.data.sources` has the table of kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod

from limner.core.progress import OnProgress, silent
from limner.data.listing import Listing
from limner.data.options import DataOptions


class DataSource(ABC):
    """Where pictures come from. Opening one reads nothing yet."""

    name: str
    """What a data set made from it is called: part of a folder's name."""

    @abstractmethod
    def identity(self, on_progress: OnProgress = silent) -> str:
        """Text that changes when the content does, and with nothing else: prepared folders are named by it.

        Names, sizes and times do not suffice, for they stay when pictures are changed in place; `limner.data.content` makes a
        digest of files cheap. `on_progress` hears of the reading."""

    @abstractmethod
    def listing(self, options: DataOptions, on_progress: OnProgress = silent) -> Listing:
        """Every picture, not decoded. `on_progress` hears of a download. Errors: `InputError` where there is no picture."""

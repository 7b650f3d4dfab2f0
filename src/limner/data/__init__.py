"""Data: any source of pictures becomes a packed, checked folder of equal-sized uint8 images."""

from limner.data.dataset import Dataset, Images, open_dataset, summary
from limner.data.options import DataOptions, parse_size
from limner.data.prepare import check, check_source, prepare, prepare_source
from limner.data.report import CheckReport
from limner.data.sizing import sizes
from limner.data.sources import BUILT_IN

__all__ = [
    "BUILT_IN",
    "CheckReport",
    "DataOptions",
    "Dataset",
    "Images",
    "check",
    "check_source",
    "open_dataset",
    "parse_size",
    "prepare",
    "prepare_source",
    "sizes",
    "summary",
]

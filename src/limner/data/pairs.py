"""Given pictures: which picture of a source is shown to a model beside which other one, by the column `given_file_name`.

An outline beside a photograph, a small picture beside a large one, a picture with a hole beside the whole one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from limner.data.listing import Rejected, printable
from limner.data.metadata import Row
from limner.data.trees import escapes


@dataclass(frozen=True)
class Pairs:
    """The given picture of each picture that has one, by their full names, and the pictures that have none."""

    partners: Mapping[str, str]
    rejected: tuple[Rejected, ...]


def pair_pictures(pictures: Sequence[str], tables: Mapping[str, Row], all_given: frozenset[str]) -> Pairs | None:
    """Pairs up the files `pictures`; None where the tables name no given picture, so that the set is none of pairs.

    `tables` holds the row of each picture by its full name, with the full name of its given picture; `all_given` are the given
    pictures that any row names, also rows about pictures that are not there.

    A file that is given and has no row of its own is only that: no picture to be learned. A picture without a given picture is
    set aside, with the reason.
    """
    if not all_given:
        return None
    there, partners, rejected = set(pictures), dict[str, str](), list[Rejected]()
    for name in pictures:
        row = tables.get(name)
        if row is None and name in all_given:
            continue
        partner = None if row is None else row.given_file_name
        if partner is None:
            reason = "has no given picture, and others have (column given_file_name)"
        elif escapes(partner):
            reason = f"its given picture {printable(partner)} is at a path that leads out of the folder"
        elif partner not in there:
            reason = f"its given picture {printable(partner)} is not there, or is no picture"
        else:
            partners[name] = partner
            continue
        rejected.append(Rejected(printable(name), reason))
    return Pairs(partners, tuple(rejected))

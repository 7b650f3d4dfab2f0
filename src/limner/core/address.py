"""Addresses such as ``https://user:word@host/pictures.zip?signature=…``, and what of them may be shown to others.

Who is given weights, a report or a log must not be given the password or the signature with them. Only `recipe.yaml` holds the
whole address, because a run that goes on has to fetch from it.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+://"


def is_address(source: str | Path) -> bool:
    """Whether `source` begins as ``https://`` does; a single letter would be a drive of Windows."""
    return isinstance(source, str) and re.match(_SCHEME, source) is not None


def public_address(source: str | Path) -> str:
    """Scheme, host and path of an address, without user, password, query and fragment; anything else as it is."""
    if not is_address(source):
        return str(source)
    place = re.split(r"[?#]", str(source), maxsplit=1)[0]
    shown = []
    for one in place.split("::"):  # a chain, such as https://host/a.zip::https://user:word@host/b.zip
        scheme, mark, rest = one.partition("://")
        host, slash, path = rest.partition("/")
        host = host.rpartition("@")[2]
        if re.search(r":\d*\D", host) and not host.startswith("["):  # no port, but a password with one of / ? # in it
            host, slash, path = "…", "", ""
        shown.append(f"{scheme}{mark}{host}{slash}{path}")
    return "::".join(shown)


def public_name(source: str | Path) -> str:
    """The last part of a path or of an address, without what is secret in it."""
    return Path(public_address(source)).name


def public_text(text: str, *addresses: str | Path) -> str:
    """`text` with every address in it made public; of `addresses`, their secret parts go wherever they stand in it.

    The latter is for messages that name an address by its parts, such as ``with url: /pictures.zip?signature=…``.
    """
    for address in filter(is_address, addresses):
        text = text.replace(str(address), public_address(address))
        for secret in _secrets(str(address)):
            text = text.replace(secret, "…")
    return re.sub(rf"{_SCHEME}\S+", lambda match: public_address(match[0]), text)


def public_word(word: str) -> str:
    """A word of a command line, such as ``https://…`` or ``--data=https://…``, whose address ends where the word does."""
    match = re.search(_SCHEME, word)
    return word if match is None else word[: match.start()] + public_address(word[match.start() :])


def _secrets(address: str) -> list[str]:
    """The texts in `address` that must not be shown, the longest first; one of a letter or two would stand everywhere."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return []
    user = parts.netloc.rpartition("@")[0]
    texts = [user, user.partition(":")[2], parts.query, parts.fragment]
    texts += [unquote(text) for text in texts]
    return sorted({text for text in texts if len(text) > 2}, key=len, reverse=True)

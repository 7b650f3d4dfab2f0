"""Network addresses such as ``https://user:word@host/pictures.zip?signature=…``, and their public form without secrets.

A password or a signature must not travel in weights, reports and logs, which people pass on. Only `recipe.yaml` holds the
whole address, because a resumed run has to fetch the data from it again.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+://"


def is_address(source: str | Path) -> bool:
    """Whether `source` is text that begins with a scheme such as ``https://``; one letter would be a drive of Windows.

    >>> is_address("s3://bucket/pictures"), is_address("C:/pictures")
    (True, False)
    """
    return isinstance(source, str) and re.match(_SCHEME, source) is not None


def public_address(source: str | Path) -> str:
    """Scheme, host and path of an address, without user, password, query and fragment; a path of this machine unchanged.

    >>> public_address("https://anna:secret@example.org/pictures.zip?signature=5f")
    'https://example.org/pictures.zip'
    """
    if not is_address(source):
        return str(source)
    location = re.split(r"[?#]", str(source), maxsplit=1)[0]
    links = []
    for link in location.split("::"):  # a chain, such as https://host/a.zip::https://user:word@host/b.zip
        scheme, separator, rest = link.partition("://")
        host, slash, path = rest.partition("/")
        host = host.rpartition("@")[2]
        if re.search(r":\d*\D", host) and not host.startswith("["):  # not a port, but a password that contains / ? or #
            host, slash, path = "…", "", ""
        links.append(f"{scheme}{separator}{host}{slash}{path}")
    return "::".join(links)


def public_name(source: str | Path) -> str:
    """The last part of a path or of an address, without secrets."""
    return Path(public_address(source)).name


def public_text(text: str, *addresses: str | Path) -> str:
    """`text` with each address in it replaced by its public form, and with the secret parts of `addresses` removed everywhere.

    The second is for messages that quote parts of an address, such as ``with url: /pictures.zip?signature=…``.
    """
    for address in filter(is_address, addresses):
        text = text.replace(str(address), public_address(address))
        for secret in _secrets(str(address)):
            text = text.replace(secret, "…")
    return re.sub(rf"{_SCHEME}\S+", lambda match: public_address(match[0]), text)


def public_word(word: str) -> str:
    """A word of a command line, such as ``https://…`` or ``--data=https://…``, with the address at its end made public."""
    match = re.search(_SCHEME, word)
    return word if match is None else word[: match.start()] + public_address(word[match.start() :])


def _secrets(address: str) -> list[str]:
    """The parts of `address` that must not be shown, longest first; without parts of one or two letters, which any text has."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return []
    user = parts.netloc.rpartition("@")[0]
    texts = [user, user.partition(":")[2], parts.query, parts.fragment]
    texts += [unquote(text) for text in texts]
    return sorted({text for text in texts if len(text) > 2}, key=len, reverse=True)

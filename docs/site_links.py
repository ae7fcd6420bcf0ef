"""For mkdocs: a link to a file of the repository that is not part of the site becomes the file's name.

On a forge `[notes](../bench/NOTES.md)` leads there; on the site it reads `bench/NOTES.md`.
"""

import re
from typing import Any

OUTSIDE = re.compile(r"\[[^\]]*\]\(\.\./([^)#\s]+)[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs with the text of every page."""
    return OUTSIDE.sub(r"`\1`", markdown)

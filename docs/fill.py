"""Rewrite the generated parts of the documentation: tables of the registry, of results, and the help of the commands.

    python docs/fill.py            # rewrite
    python docs/fill.py --check    # exit 1 if something is out of date

A part stands between `<!-- models: NAME -->`, `<!-- results: FILE -->` or `<!-- help: COMMAND -->` and `<!-- end -->`.
"""

import json
import re
import sys
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
PART = re.compile(r"(<!-- (models|results|help): ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def part(kind: str, name: str) -> str:
    """Return the text of one generated part."""
    if kind == "models":
        from trk.models.tables import model_tables

        return model_tables(name)
    if kind == "results":
        from trk.bench.overview import table

        return table(json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text(encoding="utf-8")))
    from importlib import import_module

    command = import_module(f"trk.cli.{name.removeprefix('trk-')}").command
    context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100)
    return f"```text\n{command.get_help(context)}\n```"


def filled(text: str) -> str:
    """Return `text` with its generated parts made anew."""
    return PART.sub(lambda match: f"{match[1]}{part(match[2], match[3])}\n{match[4]}", text)


def main() -> int:
    """Rewrite, or check with --check."""
    stale = []
    for path in sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md"]):
        text = path.read_text(encoding="utf-8")
        fresh = filled(text)
        if fresh != text:
            stale.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(fresh, encoding="utf-8")
    if stale and "--check" in sys.argv:
        print(f"out of date: {', '.join(stale)}; run python docs/fill.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Known vulnerabilities in what a release installs: pip-audit over every pin of requirements.lock.

    pip install pip-audit
    python tests/audit.py                   # further words go to pip-audit: --vulnerability-service osv

pip-audit alone reads the pins that are for the Python and the system it runs on, and a list may name a package once.
Here the conditions are dropped, and the second version of a package goes into a second list.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

LOCK = Path(__file__).parent.parent / "requirements.lock"


def lists(lock: str) -> list[str]:
    """Return requirement files that have every pin of `lock` with its hashes and without its condition."""
    found: list[list[str]] = []
    seen: dict[str, int] = {}
    for entry in re.findall(r"^[\w.-]+==(?:.*\\\n)*.*$", lock, re.M):
        name = entry.partition("==")[0]
        number = seen[name] = seen.get(name, -1) + 1
        if number == len(found):
            found.append([])
        found[number].append(re.sub(r" ;[^\\\n]*", " ", entry, count=1))
    return ["\n".join(entries) + "\n" for entries in found]


def main() -> int:
    """Return 1 where a pin has a known vulnerability, or could not be audited."""
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(lists(LOCK.read_text(encoding="utf-8"))):
            path = Path(folder) / f"{number}.txt"
            path.write_text(text, encoding="utf-8")
            words = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "-r", str(path), *sys.argv[1:]]
            failed |= subprocess.run([sys.executable, "-m", "pip_audit", *words], check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

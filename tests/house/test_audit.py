"""The audit of the pins, by the real pip-audit; a server here stands in for the data base of vulnerabilities."""

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PINS = set(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.M))

pytest.importorskip("pip_audit", reason="pip-audit is not installed")


class Vulnerabilities(ThreadingHTTPServer):
    """Answers as OSV does: the packages in `bad` have a vulnerability. Keeps what it was `asked`."""

    def __init__(self, *bad):
        super().__init__(("127.0.0.1", 0), Query)
        self.bad = bad
        self.asked = set()

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *problem):
        self.shutdown()
        self.server_close()

    def audit(self):
        url = f"http://127.0.0.1:{self.server_port}/v1/query"
        words = ["--vulnerability-service", "osv", "--osv-url", url]
        return subprocess.run([sys.executable, ROOT / "tests/audit.py", *words], capture_output=True, text=True)


class Query(BaseHTTPRequestHandler):
    def do_POST(self):
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, version = query["package"]["name"], query["version"]
        self.server.asked.add((name, version))
        affected = [{"package": query["package"], "versions": [version], "ranges": []}]
        found = {"id": "MADE-UP-1", "summary": "made up", "modified": "2026-01-01T00:00:00Z", "affected": affected}
        body = json.dumps({"vulns": [found]} if (name, version) in self.server.bad else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


def test_every_pin_is_asked_for_whatever_system_it_is_for():
    with Vulnerabilities() as service:
        done = service.audit()
    assert done.returncode == 0, done.stderr
    assert service.asked == PINS
    assert len(PINS) > 80


@pytest.mark.parametrize("which", [min, max])
def test_a_vulnerable_pin_fails_the_audit_and_is_named(which):
    """The older of two versions of NumPy, too, which this Python may not install."""
    name, version = which(pin for pin in PINS if pin[0] == "numpy")
    with Vulnerabilities((name, version)) as service:
        done = service.audit()
    assert done.returncode == 1
    assert re.search(rf"^{name} +{re.escape(version)} +MADE-UP-1", done.stdout, re.M), done.stdout


def test_a_service_that_cannot_be_reached_fails_the_audit():
    with Vulnerabilities() as service:
        pass
    done = service.audit()
    assert done.returncode == 1
    assert "ConnectionError" in done.stderr


def test_the_workflow_runs_what_is_tested_here():
    workflow = yaml.safe_load((ROOT / ".github/workflows/audit.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert job["steps"][-1]["run"] == "python tests/audit.py"

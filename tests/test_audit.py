"""The audit of the dependencies says what it knows, and never more."""

import stat
import time

import pytest

from jobs import audit

SOUND = {"name": "numpy", "version": "2.4", "vulns": []}
BAD = {"name": "ray", "version": "2.50", "vulns": [{"id": "CVE-1", "fix_versions": ["2.55"]}]}
UNKNOWN = {"name": "torch", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([SOUND], 0, "audit: 1 packages of requirements.lock audited; 0 vulnerabilities"),
        ([SOUND, UNKNOWN], 0, "1 packages of requirements.lock audited, 1 unknown to it; 0 vuln"),
        ([UNKNOWN, UNKNOWN], 0, "knows none of the 2 packages; nothing was audited"),
        ([], 0, "nothing was audited"),
        ([SOUND, BAD], 1, "  ray 2.50: CVE-1, fixed in 2.55"),
    ],
)
def test_what_is_said_of_a_report(packages, code, said):
    found, text = audit.judge({"dependencies": packages})
    assert (found, said in text) == (code, True), text


def program(tmp_path, script):
    path = tmp_path / "pip-audit"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize("script", ["exit 1", "echo 'connection refused' >&2; exit 1", "echo '{'"])
def test_a_service_that_does_not_answer_is_one_line(tmp_path, script):
    code, text = audit.audit(program(tmp_path, script))
    assert (code, text) == (0, "audit: the service can't be reached; nothing was audited")


def test_it_never_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "_PATIENCE", 0.5)
    started = time.monotonic()
    assert audit.audit(program(tmp_path, "exec sleep 60"))[0] == 0
    assert time.monotonic() - started < 20


def test_it_is_not_there(tmp_path):
    assert "nothing was audited" in audit.audit(str(tmp_path / "none"))[1]

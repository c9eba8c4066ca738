"""Known vulnerabilities among the packages of requirements.lock:  PYTHON -m jobs.audit PIP_AUDIT

PIP_AUDIT is the program of pip-audit, which has an environment of its own (`make audit`). Exit code 1
for a vulnerability. Where the service can't be reached, or knows none of the packages, that is said
in one line and is no failure: nothing was audited then, and nothing is claimed.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
_PATIENCE = 60.0  # seconds for the whole audit
_ANSWER = "5"  # seconds for one answer of the service


def audit(program: str) -> tuple[int, str]:
    """Ask; returns the exit code and what to say."""
    command = [
        program,
        "--requirement",
        str(_LOCK),
        "--no-deps",
        "--disable-pip",
        "--format",
        "json",
    ]
    command += ["--progress-spinner", "off", "--timeout", _ANSWER]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)
        report = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return 0, "audit: the service can't be reached; nothing was audited"
    return judge(report)


def judge(report: dict[str, Any]) -> tuple[int, str]:
    """What pip-audit's report says, with what it leaves out."""
    packages = report.get("dependencies", [])
    known = [package for package in packages if "vulns" in package]
    bad = [package for package in known if package["vulns"]]
    if not known:
        return (
            0,
            f"audit: the service knows none of the {len(packages)} packages; nothing was audited",
        )
    unknown = f", {len(packages) - len(known)} unknown to it" if len(known) < len(packages) else ""
    said = f"audit: {len(known)} packages of requirements.lock audited{unknown}"
    lines = [
        f"  {package['name']} {package['version']}: {own['id']}, "
        f"fixed in {', '.join(own['fix_versions']) or '-'}"
        for package in bad
        for own in package["vulns"]
    ]
    return (1 if bad else 0), "\n".join([f"{said}; {len(lines)} vulnerabilities", *lines])


if __name__ == "__main__":
    code, text = audit(sys.argv[1])
    sys.stdout.write(text + "\n")
    sys.exit(code)

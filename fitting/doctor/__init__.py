"""What a trainer or a model will miss in a folder, found before it runs: one file = one of them = one line in
`CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from fitting.doctor import deca, emoca, smplifyx, talking_gaussian
from fitting.doctor.findings import Finding
from fitting.types import ConfigError, InputError

CHECKS: Mapping[str, Callable[[Path], list[Finding]]] = {
    "talking_gaussian": talking_gaussian.check,
    "emoca": emoca.check,
    "deca": deca.check,
    "smplify-x": smplifyx.check,
}

__all__ = ["CHECKS", "Finding", "examine"]


def examine(folder: Path, purpose: str) -> list[Finding]:
    """Faults first. Raises ConfigError for an unknown purpose and InputError where there is no such folder."""
    if purpose not in CHECKS:
        raise ConfigError(f"--for {purpose}: choose from {', '.join(CHECKS)}")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    return sorted(CHECKS[purpose](folder), key=lambda finding: finding.kind != "fault")

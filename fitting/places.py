"""Where the files that come with Keyfit lie: beside the package in a checkout, inside it when installed."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def models() -> Path:
    """The shelf of model files."""
    return _first("models", "shelf")


def recipes() -> Path:
    return _first("cfg_files", "recipes")


def _first(in_checkout: str, in_package: str) -> Path:
    beside = PACKAGE.parent / in_checkout
    # site-packages may well have a `models` of somebody else's.
    return beside if (PACKAGE.parent / "setup.cfg").is_file() and beside.is_dir() else PACKAGE / in_package

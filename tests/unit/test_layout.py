"""`tests/unit` mirrors the package, so that a module's tests are found on the first guess."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tap_wootric

PACKAGE = Path(tap_wootric.__file__).parent
UNIT_TESTS = Path(__file__).parent


def modules_with_code() -> list[Path]:
    """Return the modules that have more than a docstring."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if len(ast.parse(path.read_text()).body) > 1]


@pytest.mark.parametrize("module", modules_with_code(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_has_a_unit_test_file(module: Path) -> None:
    folder = UNIT_TESTS / module.relative_to(PACKAGE).parent
    assert (folder / f"test_{module.stem.strip('_')}.py").is_file()

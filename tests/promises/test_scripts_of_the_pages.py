"""The scripts of the dashboard import only what there is: a browser shows an empty page otherwise."""

import re
from pathlib import Path

import pytest

from tests.support.stack import ROOT

WEB = ROOT / "session-manager/src/jelmore/web"
SCRIPTS = sorted(each for each in WEB.rglob("*.js") if "vendor" not in each.parts)
_IMPORT = re.compile(r'(?:import|export)\s*\{([^}]*)\}\s*from\s*"(\.[^"]+)"')
_DECLARED = re.compile(r"^export (?:default )?(?:async )?(?:const|let|function\*?|class) (\w+)", re.MULTILINE)
_LISTED = re.compile(r"^export \{([^}]*)\}", re.MULTILINE)


def names(listed: str) -> list[str]:
    return [each.strip().split(" as ")[0] for each in listed.split(",") if each.strip()]


def exported(script: Path) -> set[str]:
    text = script.read_text()
    listed = (name for found in _LISTED.findall(text) for name in names(found))
    return {*_DECLARED.findall(text), *(name.split(" as ")[-1] for name in listed)}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda each: str(each.relative_to(WEB)))
def test_a_script_imports_what_there_is(script: Path) -> None:
    for listed, place in _IMPORT.findall(script.read_text()):
        imported = (script.parent / place).resolve()
        assert imported.is_file(), f"{script}: there is no {place}"
        if "vendor" not in imported.parts:
            missing = [each for each in names(listed) if each not in exported(imported)]
            assert missing == [], f"{script}: {place} exports no {', '.join(missing)}"

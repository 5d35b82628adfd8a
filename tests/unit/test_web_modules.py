"""The dashboard's modules import only names that exist: a browser refuses the whole page for one that is missing."""

import re
from pathlib import Path

import pytest

import jelmore

WEB = Path(jelmore.__file__).parent / "web"
_IMPORT = re.compile(r'^import (?:\w+, )?\{([^}]*)\} from "(\.[^"]+)";', re.MULTILINE)
_DECLARED = re.compile(r"^export (?:default )?(?:async )?(?:const|let|class|function\*?) (\w+)", re.MULTILINE)
_LISTED = re.compile(r"^export \{([^}]*)\}", re.MULTILINE)


def _exported(module: Path) -> set[str]:
    text = module.read_text("utf-8")
    listed = (each.split(" as ")[-1].strip() for names in _LISTED.findall(text) for each in names.split(","))
    return {*_DECLARED.findall(text), *listed}


@pytest.mark.parametrize("module", sorted((WEB / "js").rglob("*.js")), ids=lambda path: str(path.relative_to(WEB)))
def test_every_name_that_a_module_imports_is_exported(module: Path) -> None:
    for names, source in _IMPORT.findall(module.read_text("utf-8")):
        found = (module.parent / source).resolve()
        assert found.is_file(), source
        if "vendor" in found.parts:
            continue
        wanted = {each.split(" as ")[0].strip() for each in names.split(",") if each.strip()}
        assert wanted <= _exported(found), f"{module.name} imports {wanted - _exported(found)} from {source}"

"""The list of mechanisms that `make mutations` takes away fits the code, so that it can be run at any time."""

import re

import pytest

from tests.mutations.mechanisms import ROOT, Mechanism, mechanisms


@pytest.mark.parametrize("mechanism", mechanisms(), ids=lambda each: each.promise)
def test_a_mechanism_occurs_once_in_its_file_and_has_tests(mechanism: Mechanism) -> None:
    assert (ROOT / mechanism.file).read_text().count(mechanism.old) == 1
    paths = [argument for argument in mechanism.tests if argument.startswith("tests/")]
    assert paths
    assert all((ROOT / path).exists() for path in paths)
    if "-k" in mechanism.tests:
        words = re.findall(r"\w+", mechanism.tests[mechanism.tests.index("-k") + 1])
        files = [file for path in paths for file in [ROOT / path, *(ROOT / path).rglob("test_*.py")] if file.is_file()]
        sources = " ".join(file.read_text() for file in files)
        assert all(word in sources for word in words if word not in {"and", "or", "not"}), (
            f"no test has the name {words}"
        )

"""The list of mechanisms that `make mutations` takes away fits the code, so that it can be run at any time."""

import pytest

from tests.mutations.mechanisms import ROOT, Mechanism, mechanisms


@pytest.mark.parametrize("mechanism", mechanisms(), ids=lambda each: each.promise)
def test_a_mechanism_occurs_once_in_its_file_and_has_tests(mechanism: Mechanism) -> None:
    assert (ROOT / mechanism.file).read_text().count(mechanism.old) == 1
    paths = [argument for argument in mechanism.tests if argument.startswith("tests/")]
    assert paths
    assert all((ROOT / path).exists() for path in paths)

# SPDX-License-Identifier: Apache-2.0
"""Every objective keeps DESIGN's contract."""

import pytest

from tests.objectives.cases import CASES
from tests.objectives.conformance import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", CASES)
def test_conformance(name, check):
    check(CASES[name])

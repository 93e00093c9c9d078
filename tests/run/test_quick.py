"""Quick studies: +debug=fdr."""

import pytest

from innflow.errors import InnflowError
from innflow.run.evaluate import build_study
from innflow.run.setup import cut_short


def config(quick, **data):
    return {"study": {"quick": quick, "train_limit": 100}, "data": data}


def test_a_quick_study_has_few_simulated_items():
    given = config(True, n=100_000, n_test=50, batch_size=512, labels="n")
    assert cut_short(given)["data"] == {"n": 1000, "n_test": 50, "batch_size": 512, "labels": "n"}
    assert given["data"]["n"] == 100_000


def test_other_studies_are_left_as_they_are():
    given = config(False, n=100_000)
    assert cut_short(given) is given


def test_a_switch_that_is_no_switch_is_refused():
    with pytest.raises(InnflowError, match=r"study\.quick=1: must be true or false"):
        build_study(None, None, config(1), None, {})

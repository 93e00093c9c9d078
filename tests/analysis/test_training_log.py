import numpy as np
import pytest

from analysis.linear import plane_study
from innflow.analysis import Training
from innflow.analysis.training_log import read_metrics
from innflow.errors import InnflowError

ROWS = """epoch,step,time/seconds,train/nll,val/nll
0,0,0.0,4.0,
0,10,30,3.0,
0,10,,,3.5
1,20,60,2.5,
1,20,,,inf
"""


def study(tmp_path, rows):
    (tmp_path / "metrics.csv").write_text(rows)
    made = plane_study()
    made.run_dir = tmp_path
    return made


def test_curves_are_read_with_gaps_and_put_against_steps_and_minutes(tmp_path):
    findings = Training()(study(tmp_path, ROWS))
    steps, minutes = findings.figures["training"].figure.axes
    train, val = steps.lines
    np.testing.assert_array_equal(train.get_xydata(), [[0, 4], [10, 3], [20, 2.5]])
    np.testing.assert_array_equal(val.get_xydata(), [[10, 3.5]])
    np.testing.assert_array_equal(minutes.lines[0].get_xdata(), [0, 0.5, 1])
    assert "train 4.000 to 2.500" in findings.text


def test_a_cell_that_is_no_number_is_named(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,train/nll\n0,1\n1,x\n")
    with pytest.raises(InnflowError, match="row 3, train/nll: not a number"):
        read_metrics(tmp_path / "metrics.csv")


def test_missing_loss_columns_are_named(tmp_path):
    with pytest.raises(InnflowError, match="neither train/nll nor val/nll"):
        Training()(study(tmp_path, "step,loss\n0,1\n"))


def test_without_a_log_there_is_no_curve():
    assert not Training()(plane_study()).figures

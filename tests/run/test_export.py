"""Exported files give what the run gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.export import SETTINGS, small_application
from innflow import flow
from innflow.app import Classification, Density, Inverse, Member
from innflow.app.program import make_programs
from innflow.flow.network.embedding import Observed
from innflow.latent import Latent, OneHot
from innflow.partition import Partition
from innflow.run import export
from innflow.run.export import TOLERANCE, open_program, write_program


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in SETTINGS if name != "jet_large"])  # as jet_base
def test_every_model_is_the_same_in_onnxruntime(model, tmp_path):
    app = small_application(model)
    for name, program in make_programs(app, rows=5).items():
        path = tmp_path / f"{name}.onnx"
        assert write_program(program, path, "onnx") <= TOLERANCE
        more = make_programs(app, rows=7)[name]  # another number of rows than in the trace
        expected = more.module(*more.inputs.values())
        found = open_program(path, list(expected))(more.inputs)
        for key, values in expected.items():
            wanted = values.detach().double().numpy()
            error = np.abs(found[key] - wanted).max() - more.steps.get(key, 0.0)
            assert error <= TOLERANCE * max(1.0, np.abs(wanted).max()), (name, key)


def test_a_flow_of_one_layer_is_the_same_in_onnxruntime(tmp_path):
    program = make_programs(Density(flow.vector(2, depth=1, hidden=(4,))))["sample"]
    assert write_program(program, tmp_path / "sample.onnx", "onnx") <= TOLERANCE


def test_every_model_of_the_configs_is_exported():
    files = Path(__file__).parents[2].glob("conf/model/*.yaml")
    assert sorted(SETTINGS) == sorted(path.stem for path in files)


def test_the_program_is_the_application():
    app = small_application("posterior")
    programs = make_programs(app)
    y, z = programs["posterior"].inputs.values()
    x = programs["posterior"].module(y, z)["x"]
    assert torch.allclose(programs["log_prob"].module(x, y)["log_prob"], app.log_prob(x, y))
    assert torch.allclose(app.encode(x, y), z, atol=1e-4)


class Branching(nn.Module):
    """A coupling network whose branch depends on the data, which no format has."""

    def __init__(self, inputs: int, outputs: int, context: int = 0) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, x, context=None):
        return self.layer(x) if x.sum() > 0 else self.layer(-x)


@pytest.mark.slow
def test_a_layer_that_cannot_be_traced_is_refused_in_one_line(tmp_path, refused):
    programs = make_programs(Density(flow.vector(2, depth=2, hidden=(8,), subnet=Branching)))
    with refused("log_prob.pt2", "cannot be exported"):
        write_program(programs["log_prob"], tmp_path / "log_prob.pt2", "torch")


def test_padding_and_trials_are_refused(refused):
    padded = Partition({"x": (2,)}, {"y": (3,)})
    app = Classification(flow.vector(3, depth=2), padded, Latent({"y": OneHot(3)}))
    with refused("padding"):
        make_programs(app)
    partition = Partition({"x": (2,)}, {"z": (2,)}, context={"y": (4,)})
    with refused("app.trials=2"):
        make_programs(Inverse(flow.vector(2, depth=2, context=4), partition, trials=2))


def test_embeddings_and_ensembles_are_refused(refused):
    partition = Partition({"x": (2,)}, {"z": (2,)}, context={"y": (4,)})
    first, second = (flow.vector(2, depth=2, context=4) for _ in range(2))
    with refused("an ensemble has no program"):
        make_programs(Inverse(first, partition, others=[Member(second)]))
    wide = flow.vector(2, depth=2, context=8)
    with refused("an embedding of y has no program"):
        make_programs(Inverse(wide, partition, embedding=Observed((4,), missing=True)))


@pytest.mark.slow
def test_a_file_that_differs_from_the_run_is_refused(tmp_path, refused, monkeypatch):
    program = make_programs(small_application("vector"))["log_prob"]
    right = export._fold
    monkeypatch.setattr(export, "_fold", lambda graph: _shifted(right(graph)))
    with refused("log_prob.pt2", "differs from the run"):
        write_program(program, tmp_path / "log_prob.pt2", "torch")


def _shifted(graph):
    for name, values in graph.named_buffers():
        if name.startswith("stored_") and values.is_floating_point():
            values += 1e-2
    return graph


@pytest.mark.parametrize("share", [1e-6, 1e-3, 0.2, 0.5, 0.9, 1 - 1e-6])
def test_the_quantile_of_the_normal(share):
    given = torch.tensor([share], dtype=torch.float64)
    exact = torch.special.ndtri(given)
    assert torch.allclose(export._ndtri(given), exact, rtol=1e-6, atol=1e-6)
    assert torch.allclose(export._erfc(exact), torch.erfc(exact), rtol=2e-7, atol=0)

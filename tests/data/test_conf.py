"""Every conf/data/*.yaml names all parameters of what it builds, and builds it."""

from __future__ import annotations

import inspect
from pathlib import Path

import hydra
import innflow.conf
import pytest
from omegaconf import OmegaConf

from innflow.data.base import PartsDataModule

FILES = sorted((Path(innflow.conf.__file__).parent / "data").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_keys_are_the_parameters(path, tmp_path):
    table = tmp_path / "data" / "table.csv"
    table.parent.mkdir()
    table.write_text("a,b\n" + "".join(f"{i},{2 * i}\n" for i in range(9)))
    paths = {"data": str(table.parent), "cache": str(tmp_path / "cache")}
    with hydra.initialize_config_dir(str(path.parents[1]), version_base="1.3"):
        node = hydra.compose(f"data/{path.stem}").data
    config = OmegaConf.create({"paths": paths, "seed": 7, "data": node})
    if path.stem == "pairs":
        config.data.update(path=str(table), x=["a"], y=["b"])
    if path.stem == "simulator":
        config.data.update(
            prior="innflow.problem.two_moons.prior", forward="innflow.problem.two_moons.forward"
        )
    target = hydra.utils.get_object(config.data._target_)
    assert set(config.data) - {"_target_"} == set(inspect.signature(target).parameters)
    data = hydra.utils.instantiate(config.data, _convert_="all")
    assert isinstance(data, PartsDataModule)
    assert data.seed == 7
    assert data.shape
    assert not (tmp_path / "cache").exists()

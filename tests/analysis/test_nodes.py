"""The config nodes of analyses and scores build what they name."""

from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from innflow.score import Scorer

CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize("path", sorted((CONF / "analysis").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_node_is_an_analysis(path):
    for name, node in OmegaConf.load(path).items():
        if name == "defaults":
            continue
        analysis = instantiate(node)
        assert callable(analysis), name
        assert type(analysis).__module__.startswith("innflow.analysis.")


def test_the_scorer_has_its_four_scores():
    scorer = instantiate(OmegaConf.load(CONF / "score" / "default.yaml"))
    assert isinstance(scorer, Scorer)
    assert list(scorer.scores) == ["likelihood", "bits_per_dim", "latent_distance", "typicality"]
    assert scorer.headline == "likelihood"

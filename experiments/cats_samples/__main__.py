"""Compare numbers of components and details of the distribution that is fitted to latents.

    python -m experiments.cats_samples run=DIR general=DIR [n=200] [out=FILE]

Prints a table for validation images of the run: samples at temperature 1 by features of
EfficientNet-Lite0. Test images and outliers are not read.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import torch

import innflow
from innflow.analysis.data import build_data
from innflow.analysis.latent.sample_quality import enlarge
from innflow.analysis.study import in_batches
from innflow.data.feature.backbone import Backbone
from innflow.latent import PrincipalNormal
from innflow.metric import LinearProbe, kernel_distance
from innflow.system.progress import announce

SIZE = 128
VARIANTS = (
    *((0, 1.0), (0, 0.8), (0, 0.5)),
    *((100, 0.0), (100, 0.3), (100, 0.5)),
    *((200, 0.0), (200, 0.2), (200, 0.3), (200, 0.4), (200, 0.5)),
    *((400, 0.0), (400, 0.3), (400, 0.5)),
)


def main(words: Sequence[str]) -> None:
    """Draw samples of every variant and print the table."""
    given = dict(word.split("=", 1) for word in words)
    run, count = given.pop("run"), int(given.pop("n", "200"))
    app = innflow.load(run)
    data = build_data({**app.config["data"], "general": given.pop("general")})
    if given:
        raise SystemExit(f"cats_samples: unknown: {', '.join(given)}")
    sets, general = data.sets(), data.general_set
    train, val = (sets[name].parts["x"].numpy() for name in ("train", "val"))
    order = np.random.default_rng(0).permutation(len(train))
    latents = in_batches(app.encode, train[np.sort(order[:2000])], "encode")
    backbone = Backbone("efficientnet_lite0", SIZE)

    def features(images: np.ndarray) -> np.ndarray:
        return backbone(enlarge(images, SIZE)).numpy()

    some = np.random.default_rng(0).permutation(len(general))[:700]
    probe = LinearProbe(features(train[order[:700]]), features(general.parts["x"].numpy()[some]))
    reference = features(val)
    noise = torch.randn(count, app.dims, generator=torch.Generator().manual_seed(0))
    announce(f"validation images: called inliers {probe.share(reference):.3f}")
    announce("| components | detail | called inliers | KID |\n|---|---|---|---|")
    for components, detail in VARIANTS:
        drawn = detail * noise
        if components:
            drawn = PrincipalNormal.fit(latents, components).transform(noise, detail)
        images = app.preprocessing.quantize(app.decode(drawn)).numpy()
        found = features(images)
        share, kid = probe.share(found), kernel_distance(found, reference)
        announce(f"| {components} | {detail:g} | {share:.3f} | {kid:.3f} |")


if __name__ == "__main__":
    main(sys.argv[1:])

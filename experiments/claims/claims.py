"""The twelve claims as data: sentence, criterion, runs, measured numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experiments.claims import criteria, measure
from experiments.claims.measure import Folders, Found, Numbers
from experiments.claims.runs import CLASSES, Run, needed


@dataclass(frozen=True)
class Claim:
    """A claim of the literature.

    Attributes:
        number: From 1.
        name: For titles.
        sentence: What is claimed.
        source: Of the claim.
        criterion: When it holds, and when it holds in part.
        runs: Names of the runs that are read.
        read: Numbers of one seed from the folders of these runs.
        sides: Sides that are compared, in the order of the page.
        summary: Numbers of one seed -> those of the first table.
        judge: Numbers of all seeds -> verdict.
        unit: Of the numbers in the figure.
    """

    number: int
    name: str
    sentence: str
    source: str
    criterion: str
    runs: tuple[str, ...]
    read: Callable[[Folders], Found]
    sides: tuple[str, ...]
    summary: Callable[[Numbers], Numbers]
    judge: Callable[[Sequence[Numbers]], str]
    unit: str = "AUROC"

    @property
    def all_runs(self) -> list[Run]:
        """The runs that are read, and those that these need."""
        return needed(self.runs)


CLAIMS: Sequence[Claim] = (
    Claim(
        1,
        "smoother outliers",
        "Raw likelihood ranks smoother images of another kind as more normal than the inliers.",
        "Nalisnick et al. 2019 (arXiv:1810.09136); Serrà et al. 2020 (arXiv:1909.11480)",
        "Outliers are smoother where their PNG files are shorter than 0.9 of the inliers' on "
        "average. Holds: the AUROC, mean over the seeds, is below 0.5 against every smoother set. "
        "In part: against at least one.",
        ("cats_scratch", "cifar10"),
        measure.smooth_outliers,
        ("likelihood",),
        criteria.by_smoothness("likelihood"),
        criteria.judge_smooth,
    ),
    Claim(
        2,
        "ratio to a general model",
        "The likelihood ratio to a model of general images detects outliers that raw likelihood "
        "ranks as normal.",
        "Schirrmeister et al. 2020 (arXiv:2006.10848)",
        "Holds: against every set where the raw likelihood of the same model has an AUROC below "
        "0.5, the ratio is above 0.9. In part: above 0.5 and above the likelihood for one or more.",
        ("cats", "cifar10"),
        measure.scores,
        ("likelihood", "ratio"),
        criteria.by_smoothness("likelihood", "ratio"),
        criteria.judge_ratio,
    ),
    Claim(
        3,
        "last scale",
        "The contribution of the last scale detects better than the whole likelihood.",
        "Schirrmeister et al. 2020 (arXiv:2006.10848)",
        "Holds: its AUROC is above that of the likelihood and above 0.5 against every set. In "
        "part: above that of the likelihood against more than half of the sets.",
        ("cats", "cifar10", *CLASSES),
        measure.scores,
        ("likelihood", "last_scale"),
        criteria.by_smoothness("likelihood", "last_scale"),
        criteria.judge_last_scale,
    ),
    Claim(
        4,
        "outlier loss",
        "An outlier loss on general images improves the ratio.",
        "Schirrmeister et al. 2020 (arXiv:2006.10848); Hendrycks et al. 2019 (arXiv:1812.04606)",
        "One class of CIFAR10 against the nine others, after equally many steps. Holds: for both "
        "classes the mean AUROC with the loss is higher in every seed and by at least 0.01 on "
        "average. In part: for one class.",
        tuple(name for kind in CLASSES for name in (kind, f"{kind}_outlier_loss")),
        measure.outlier_loss,
        ("without loss", "with loss"),
        criteria.unchanged,
        criteria.judge_loss,
    ),
    Claim(
        5,
        "fine-tuning",
        "Fine-tuned from a general model, a flow reaches the same validation bits per dim in under "
        "half of the steps.",
        "Schirrmeister et al. 2020 (arXiv:2006.10848)",
        "Both runs have equally many steps, and the same schedule. Holds: in every seed the first "
        "validation of the fine-tuned run at or below the best one from scratch comes before half "
        "of the steps. In part: in at least one seed. The steps of the general model do not count.",
        ("cats_scratch", "cats"),
        measure.fine_tuning,
        ("from scratch", "fine-tuned"),
        criteria.unchanged,
        criteria.judge_tuning,
        "bits per dim",
    ),
    Claim(
        6,
        "compressors",
        "Relative to the length under a compressor, the likelihood detects smoother outliers, and "
        "detects the others less well.",
        "Serrà et al. 2020 (arXiv:1909.11480)",
        "Helps: against every smoother set (as in claim 1) the corrected AUROC is above the raw "
        "one and above 0.5. Hurts: against every other set it is below the raw one. Holds: both, "
        "for PNG and for WebP. In part: one of these four.",
        ("cats", "cifar10", *CLASSES),
        measure.scores,
        ("likelihood", "png", "webp"),
        criteria.by_smoothness("likelihood", "png", "webp"),
        criteria.judge_compressors,
    ),
    Claim(
        7,
        "dense flow",
        "Trained on clothes, a dense Glow detects digits better than a convolutional one, which "
        "ranks them as more normal.",
        "Schirrmeister et al. 2020 (arXiv:2006.10848)",
        "Holds: in every seed the convolutional flow is below 0.5 and the dense one higher by more "
        "than 0.1. In part: the dense one is higher in every seed.",
        ("clothes_glow", "clothes_dense"),
        measure.clothes,
        ("glow", "dense"),
        criteria.unchanged,
        criteria.judge_pair("dense", "glow"),
    ),
    Claim(
        8,
        "masks",
        "Cycle masks with a bottleneck detect digits better than checkerboard masks, which rank "
        "them as more normal than clothes.",
        "Kirichenko et al. 2020 (arXiv:2006.08545)",
        "Holds: in every seed checkerboard masks (without bottleneck) are below 0.5, and cycle "
        "masks with a bottleneck of 10 higher by more than 0.1. In part: higher in every seed.",
        ("clothes_checkerboard", "clothes_checkerboard_bottleneck", "clothes_cycle_bottleneck"),
        measure.clothes,
        ("checkerboard", "checkerboard, bottleneck", "cycle, bottleneck"),
        criteria.unchanged,
        criteria.judge_pair("cycle, bottleneck", "checkerboard"),
    ),
    Claim(
        9,
        "features",
        "A flow on features of a pretrained network detects better than one on pixels, and one "
        "Gaussian on these features is as good.",
        "Kirichenko et al. 2020 (arXiv:2006.08545); Lee et al. 2018 (arXiv:1807.03888)",
        "Holds: the flow on features is above the likelihood of pixels against every set, by more "
        "than 0.05 on average, and one Gaussian is within 0.01 of it on average. In part: one of "
        "the two.",
        ("cats_scratch", "cats_features"),
        measure.features,
        (
            *("pixels, likelihood", "features, flow", "features, one Gaussian"),
            "features, 5 neighbours",
        ),
        criteria.mean_of_panels("pixels, likelihood", "features, flow", "features, one Gaussian"),
        criteria.judge_features,
    ),
    Claim(
        10,
        "amplitude and phase",
        "The likelihood of an image depends on the amplitudes of its Fourier spectrum and not on "
        "the phases.",
        "Schirrmeister et al. 2020 (arXiv:2006.10848)",
        "Images with the amplitudes of one test image and the phases of another. Holds: their log "
        "p correlates with that of the amplitudes' donor by more than 0.8 and with that of the "
        "phases' donor by less than 0.2 in size, for both data sets. In part: the first is larger "
        "by more than 0.3 for both.",
        ("cats_scratch", "cifar10"),
        measure.phases,
        ("amplitude", "phase"),
        criteria.unchanged,
        criteria.judge_phases,
        "correlation",
    ),
    Claim(
        11,
        "MMD",
        "A flow trained by MMD passes tests by MMD, SBC and TARP, and fails C2ST.",
        "Ardizzone et al. 2019 (arXiv:1808.04730); Kruse et al. 2021 (arXiv:2101.10763)",
        "Passes: MMD² to the exact posterior below a tenth of the prior's, p of SBC and TARP "
        "at least 0.01. Holds: in every seed all three, and C2ST above 0.9. In part: in every seed "
        "C2ST above 0.9 and one of the three.",
        ("arm_mmd", "arm_likelihood"),
        measure.arm_training,
        ("MMD", "likelihood", "floor"),
        criteria.unchanged,
        criteria.judge_arm,
        "value",
    ),
    Claim(
        12,
        "noise as input",
        "A flow with the noise as an input gives the exact posterior, and a flow that ignores the "
        "noise does not.",
        "Zhang and Curtis 2021 (doi:10.1029/2021JB022320)",
        "Holds: in every seed C2ST to the exact posterior is less than 0.03 above its floor with "
        "the noise as input, and above 0.6 with the noise ignored. In part: one of the two.",
        ("traveltime_noise", "traveltime_ignored", "traveltime_context"),
        measure.noise_input,
        ("noise as input", "noise ignored", "y as context", "floor"),
        criteria.unchanged,
        criteria.judge_noise,
        "value",
    ),
)
BY_NUMBER = {claim.number: claim for claim in CLAIMS}

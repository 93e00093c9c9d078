"""Images with exchanged Fourier phases, and their likelihood."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from innflow.figure.image_rows import plot_image_rows
from innflow.figure.style import OUTLIERS, new_figure, style
from innflow.metric import pearson


def plot_swapped(
    walks: Sequence[np.ndarray],
    donors: Sequence[np.ndarray],
    shares: np.ndarray,
    log_prob: np.ndarray,
) -> Figure:
    """Draw one row for each pair, and the donor of the phases at its end.

    Args:
        walks: (S, C, H, W) uint8 for each pair, from the image to that with the other phases.
        donors: (1, C, H, W) uint8 for each pair.
        shares: (S,) of the phases exchanged.
        log_prob: (K, S) in nats, written under the images.
    """
    rows = [np.concatenate([walk, donor]) for walk, donor in zip(walks, donors, strict=True)]
    columns = [f"a = {share:.3g}" for share in shares]
    columns[0] = "image"
    notes = [[f"{value:,.0f}" for value in values] for values in log_prob]
    return plot_image_rows(rows, [""] * len(rows), columns=[*columns, "phases of"], notes=notes)


@style()
def plot_phases(
    shares: np.ndarray, log_prob: np.ndarray, donors: Mapping[str, np.ndarray], color: str
) -> Figure:
    """Draw log p against the share of the other phases, and at share 1 against that of the donors.

    Args:
        shares: (S,).
        log_prob: (N, S) in nats.
        donors: "amplitude" and "phase" -> (N,) log p of their donors.
        color: of the images.
    """
    figure, axes = new_figure(1, 1 + len(donors), height=2.7, width=8.0)
    axis = axes[0]
    axis.plot(shares, log_prob.T, color=color, linewidth=0.5, alpha=0.25)
    axis.plot(shares, log_prob.mean(axis=0), color=OUTLIERS[0], linewidth=2, label="mean")
    axis.set(xlabel="share a of the other phases", ylabel="log p, nats", xlim=(0, 1))
    axis.set_title("all pairs")
    axis.legend()
    for (donor, values), place in zip(donors.items(), axes[1:], strict=True):
        place.scatter(values, log_prob[:, -1], s=8, color=color, alpha=0.6, linewidths=0)
        place.set(xlabel=f"log p, {donor} donor, nats", ylabel="log p at a = 1, nats")
        place.set_title(f"{donor}: correlation {pearson(values, log_prob[:, -1]):.2f}")
        place.xaxis.set_major_locator(MaxNLocator(3))
    for place in axes:
        place.grid(True)
    return figure

"""Rank correlation of the likelihoods of the model and its companions."""

from dataclasses import dataclass

from innflow.analysis.findings import Findings, Plot, Table, add_correlation
from innflow.analysis.study import Analysis, Study
from innflow.figure.scatter import Cloud, plot_clouds
from innflow.metric import spearman


@dataclass
class Agreement(Analysis):
    """Compare the order of items by log p of the model with that by log p of each companion.

    After Schirrmeister et al. (arXiv:2006.10848): flows trained on other data, or without
    convolutions, rank the images of a set nearly alike.

        >>> Agreement()
        Agreement()
    """

    def __call__(self, study: Study) -> Findings:
        """Tabulate Spearman's correlation of total log p and of each scale, and plot log p."""
        if not study.app.companions:
            return Findings(
                "Agreement of models",
                "The run has no companions: companions.NAME=DIR adds another run for comparison.",
            )
        sets = ["test", *study.outliers]
        measured = {name: study.measure(name) for name in sets}
        metrics: dict[str, float] = {}
        rows: list[list[str]] = []
        panels = []
        notes = []
        scales = measured["test"].terms.shape[1]
        for companion, terms in measured["test"].companions.items():
            compared = scales if scales > 1 and terms.shape[1] == scales else 0
            if scales > 1 and not compared:
                notes.append(
                    f"{companion} has {terms.shape[1]} scales and the model {scales}: only their "
                    "total log p is compared."
                )
            for name, items in measured.items():
                other = items.companions[companion]
                pairs = {"spearman": (items.log_prob, other.sum(axis=1))}
                for scale in range(compared):
                    pairs[f"scale_{scale + 1}"] = (items.terms[:, scale], other[:, scale])
                prefix = f"agreement/{companion}/{name}"
                cells = [
                    add_correlation(metrics, f"{prefix}/{key}", spearman(*pair))
                    for key, pair in pairs.items()
                ]
                cells += ["-"] * (scales - compared if scales > 1 else 0)
                rows.append([companion, name, f"{len(items):,}", *cells])
            own = {name: items.log_prob for name, items in measured.items()}
            theirs = {name: m.companions[companion].sum(axis=1) for name, m in measured.items()}
            labels = "log p of the model, nats", f"log p of {companion}, nats", companion
            panels.append(Cloud(own, theirs, *labels, diagonal=True))
        numbered = [f"scale {i + 1}" for i in range(scales)] if scales > 1 else []
        listed = "; ".join(f"{row[0]}, {row[1]} {row[3]}" for row in rows)
        text = (
            "Spearman's rank correlation of log p of the model and of each companion over the "
            f"items of a set: {listed}. Near 1, both give the same order of items although "
            "they were trained on other data, and only the offset of log p differs."
        )
        plot = Plot(
            plot_clouds(panels, study.colors),
            "log p of the model and of each companion for the same items, at most 600 a set; both "
            "are equal on the grey line, and that of the model is larger below it.",
        )
        table = Table(
            "Spearman's correlation of log p with companions, in total and by scale (deepest last)",
            ["companion", "set", "items", "total", *numbered],
            rows,
        )
        text = "\n\n".join([text, *notes])
        return Findings("Agreement with other models", text, metrics, {"agreement": plot}, [table])

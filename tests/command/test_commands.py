"""Commands on a finished run: evaluation, samples, scores; and the same from Python."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import innflow
from innflow.data.image.storage import read_images

LEADING = ["score", "p_value", "p_value_min", "calibration_items", "log_prob"]
SCORES = [*LEADING, "likelihood", "bits_per_dim", "latent_distance"]
P_VALUES = ["likelihood_p", "bits_per_dim_p", "latent_distance_p", "typicality_p"]
COLUMNS = ["path", *SCORES, "typicality", *P_VALUES]


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def check_same(table: list[list[str]], names: list[str], scores: dict[str, np.ndarray]) -> None:
    assert table[0] == COLUMNS
    assert [row[0] for row in table[1:]] == names
    for at, name in enumerate(COLUMNS[1:], start=1):
        values = [float(row[at]) for row in table[1:]]
        np.testing.assert_allclose(values, scores[name], rtol=1e-6, err_msg=name)


def test_evaluation_on_other_data_writes_a_whole_folder(command, image_run, photographs):
    shutil.copytree(photographs, "other")
    (Path("other/val/dog")).rename("other/val/horse")
    arguments = ["data.root=other", "out=tested", "analysis=ood"]
    smaller = ["analysis.scores.resamples=20", "analysis.samples.components=[2]"]
    smaller += ["analysis.latent_cloud=null", "analysis.interpolation=null"]
    answer = command("innflow-eval", f"run={image_run}", *arguments, *smaller)
    assert answer.code == 0, answer.err
    out = Path("tested").absolute()
    assert answer.out.splitlines()[-1] == str(out)
    names = {path.name for path in out.iterdir()}
    assert {"config.yaml", "metrics.json", "scores.csv", "figures", "report.html"} <= names
    metrics = json.loads((out / "metrics.json").read_text())
    trained = json.loads((image_run / "metrics.json").read_text())
    assert metrics["bpd/horse"] == pytest.approx(trained["bpd/dog"], rel=1e-6)
    assert metrics["test/bpd"] == pytest.approx(trained["test/bpd"], rel=1e-6)
    assert "bpd/dog" not in metrics


@pytest.mark.extended
def test_evaluation_of_vectors_goes_into_the_run_by_default(command, vector_run):
    answer = command(
        "innflow-eval", f"run={vector_run}", "analysis.density2d=null", "data.n_test=60"
    )
    assert answer.code == 0, answer.err
    out = Path(answer.out.splitlines()[-1])
    assert out.parent == vector_run / "eval"
    assert (out / "report.html").is_file()


@pytest.mark.parametrize("group", ["data", "analysis", "score"])
def test_evaluation_builds_nothing_else_that_a_checkpoint_names(
    group, command, vector_run, tmp_path
):
    planted = tmp_path / "planted.ckpt"
    checkpoint = torch.load(vector_run / "checkpoints" / "best.ckpt", weights_only=True)
    mark = tmp_path / "was-run"
    attack = {"_target_": "pathlib.Path.touch", "self": str(mark)}
    whole = {"_target_": "os.system", "command": f"touch {mark}"}
    checkpoint["innflow"]["config"][group] = whole if group == "data" else {"odd": attack}
    torch.save(checkpoint, planted)
    answer = command("innflow-eval", f"run={planted}")
    assert answer.code == 2
    assert "trust=True" in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not mark.exists()


def test_samples_of_images_are_files_and_a_grid(command, image_run):
    def draw(out: str, *more: str) -> dict[str, bytes]:
        answer = command("innflow-sample", f"run={image_run}", "n=12", f"out={out}", *more)
        assert answer.code == 0, answer.err
        assert answer.out.splitlines()[-1] == str(Path(out).absolute())
        return {path.name: path.read_bytes() for path in Path(out).glob("*.png")}

    first = draw("first")
    assert sorted(first) == [*(f"{i:02d}.png" for i in range(12)), "grid.png"]
    with Image.open("first/00.png") as image:
        assert (image.size, image.mode) == ((8, 8), "RGB")
    assert draw("again") == first
    assert draw("seed", "seed=1")["00.png"] != first["00.png"]
    cold = draw("cold", "temperature=0")
    assert cold["00.png"] == cold["11.png"]
    expected = innflow.load(image_run).sample(12, seed=0)[3].permute(1, 2, 0)
    with Image.open("first/03.png") as image:
        assert np.array_equal(np.asarray(image), expected.numpy())


def test_samples_of_vectors_are_a_table_and_an_archive(command, vector_run):
    command("innflow-sample", f"run={vector_run}", "n=300", "out=drawn", "temperature=0.5")
    with np.load("drawn/samples.npz") as archive:
        x = archive["x"]
    assert (x.shape, x.dtype) == ((300, 2), np.float32)
    table = read(Path("drawn/samples.csv"))
    assert table[0] == ["x0", "x1"]
    assert np.array_equal(np.array(table[1:], dtype=np.float32), x)
    app = innflow.load(vector_run)
    first = app.sample(256, temperature=0.5, seed=0)
    assert np.array_equal(first.numpy(), x[:256])


HOSTILE = [
    "a,b.png",
    'say "hi".png',
    "two\nlines.png",
    "=1+1.png",
    "@cmd.png",
    "gr\u00fc\u00dfe \u732b.png",
    " blank .png",
]


def test_scores_of_a_folder_whatever_its_files_are_called(command, image_run, photographs):
    folder = Path("strange")
    folder.mkdir()
    for i, name in enumerate(HOSTILE):
        shutil.copy(photographs / f"val/dog/{i}.png", folder / name)
    answer = command("innflow-score", f"run={image_run}", "input=strange", "out=scores.csv")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[-1] == "scores.csv"
    images, names, _ = read_images(folder, 8, 3)
    assert sorted(names) == sorted(HOSTILE)
    shown = [f"./{name}" if name[0] in "=@" else name for name in names]
    check_same(read(Path("scores.csv")), shown, innflow.load(image_run).score(images))


def test_scores_of_one_image_on_stdout_agree_with_the_run(command, image_run, photographs):
    image = photographs / "val/dog/3.png"
    answer = command("innflow-score", f"run={image_run}", f"input={image}")
    assert answer.code == 0, answer.err
    header, row = csv.reader(answer.out.splitlines())
    assert header == COLUMNS
    assert row[0] == "3.png"
    with (image_run / "scores.csv").open(newline="") as file:
        known = {line["path"]: line for line in csv.DictReader(file)}["val/dog/3.png"]
    for name, value in zip(header[1:], row[1:], strict=True):
        assert float(value) == pytest.approx(float(known[name]), rel=1e-4), name


def test_scores_of_a_table(command, vector_run):
    Path("points.csv").write_text("a,b\n0.5,0.25\n100,100\n1,0\n")
    answer = command("innflow-score", f"run={vector_run}", "input=points.csv", "out=scores.csv")
    assert answer.code == 0, answer.err
    table = read(Path("scores.csv"))
    x = torch.tensor([[0.5, 0.25], [100, 100], [1, 0]])
    names = [f"points.csv/{i}" for i in range(3)]
    check_same(table, names, innflow.load(vector_run).score(x))
    strangest = max(table[1:], key=lambda row: float(row[1]))
    assert strangest[0] == "points.csv/1"
    assert float(strangest[2]) == pytest.approx(1 / 41)  # stranger than all 40 calibration items


def test_a_threshold_flags_items_and_names_the_false_alarms(command, vector_run, caplog):
    Path("points.csv").write_text("a,b\n0.5,0.25\n100,100\n1,0\n")
    Path("inliers.csv").write_text("a,b\n" + "50,50\n" * 3)
    given = [f"run={vector_run}", "input=points.csv", "out=scores.json"]
    answer = command("innflow-score", *given, "threshold=0.03")
    assert answer.code == 0, answer.err
    _, first, second = caplog.messages  # on stderr; stdout may hold the table
    assert "calibrated on 40 inliers, the smallest possible is 0.024" in first
    assert "1 of 3 flagged at p_value <= 0.03" in second
    assert "at most 0.09 were expected" in second
    rows = json.loads(Path("scores.json").read_text())
    assert [row["flag"] for row in rows] == [0, 1, 0]
    assert list(rows[0]) == ["path", "score", "p_value", "flag", *COLUMNS[3:]]
    assert rows[1]["path"] == "points.csv/1"

    answer = command("innflow-score", *given, "threshold=0.03", "calibration=inliers.csv")
    assert "calibrated on 3 inliers, the smallest possible is 0.25" in caplog.text
    assert "no item can be flagged, which needs 33 calibration inliers" in caplog.text
    rows = json.loads(Path("scores.json").read_text())
    assert [row["p_value"] for row in rows] == [1, 0.25, 1]
    answer = command("innflow-score", *given, "threshold=5")
    assert answer.err == (
        "innflow-score: error: threshold=5: must be a p-value between 0 and 1, or null\n"
    )


def test_maps_are_files_by_the_names_of_the_pictures(command, image_run, photographs):
    folder = Path("new/below")
    folder.mkdir(parents=True)
    shutil.copy(photographs / "val/dog/0.png", folder / "0.png")
    shutil.copy(photographs / "val/dog/1.png", "new/1.png")
    given = [f"run={image_run}", "input=new", "maps=maps"]
    answer = command("innflow-score", *given)
    assert answer.code == 0, answer.err
    assert sorted(str(path) for path in Path("maps").rglob("*.png")) == [
        "maps/1.png.png",
        "maps/below/0.png.png",
    ]
    with Image.open("maps/1.png.png") as image:
        assert image.width > 2 * image.height > 500
    answer = command("innflow-score", *given)
    assert "maps=maps: holds files already" in answer.err


def test_vectors_have_no_maps(command, vector_run):
    Path("points.csv").write_text("a,b\n0.5,0.25\n")
    answer = command("innflow-score", f"run={vector_run}", "input=points.csv", "maps=maps")
    assert answer.err == (
        "innflow-score: error: maps: anomaly maps: need images or maps of features, "
        "the data have shape (2,)\n"
    )


def test_a_loaded_run_answers_in_data_units(image_run, photographs):
    app = innflow.load(image_run)
    x, _, _ = read_images(photographs / "val/cat", 8, 3)
    z = app.encode(x)
    assert z.shape == (16, 192)
    assert (app.decode(z) - x).abs().max() < 0.01
    log_prob = app.log_prob(x)
    with (image_run / "scores.csv").open(newline="") as file:
        known = {row["path"]: float(row["log_prob"]) for row in csv.DictReader(file)}
    names = [f"val/cat/{i}.png" for i in sorted(range(16), key=str)]
    np.testing.assert_allclose(log_prob, [known[name] for name in names], rtol=1e-5)
    drawn = app.sample(5, seed=1)
    assert (drawn.shape, drawn.dtype) == ((5, 3, 8, 8), torch.uint8)
    scores = app.score(x)
    assert list(scores) == COLUMNS[1:]
    np.testing.assert_allclose(scores["log_prob"], log_prob, rtol=1e-5)
    np.testing.assert_allclose(
        scores["bits_per_dim"], -scores["log_prob"] / (192 * math.log(2)), rtol=1e-6
    )


def test_a_checkpoint_alone_answers_all_but_scores(image_run, tmp_path, refused):
    alone = shutil.copy(image_run / "checkpoints/best.ckpt", tmp_path / "alone.ckpt")
    app = innflow.load(alone)
    whole = innflow.load(image_run)
    x = whole.sample(3, seed=0)
    assert torch.equal(app.log_prob(x), whole.log_prob(x))
    with refused("no fitted scores"):
        app.score(x)

"""The forms in which images and vectors may be given to an application."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from innflow import flow
from innflow.app.density import Density, Generation
from innflow.app.inputs import to_images, to_vectors
from innflow.data.image.storage import read_images

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (4, 12, 10, 3), dtype=np.uint8)
NAMES = ["a", "b", "c"]
VALUES = RNG.standard_normal((5, 3))
images = partial(to_images, shape=(3, 8, 8), levels=256)
vectors = partial(to_vectors, names=NAMES, known=True)


@pytest.fixture
def folder(tmp_path):
    """The pictures as files, as training reads them."""
    for number, picture in enumerate(PICTURES):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    return tmp_path


def test_all_forms_of_a_picture_give_the_pixels_of_training(folder):
    expected, names, _ = read_images(folder, 8, 3)
    assert names == ["0.png", "1.png", "2.png", "3.png"]
    paths = [folder / name for name in names]
    channels_first = PICTURES.transpose(0, 3, 1, 2)
    forms = [
        *(str(folder), paths, [str(path) for path in paths], PICTURES, list(PICTURES)),
        *(channels_first, torch.tensor(channels_first), torch.tensor(PICTURES)),
        *([Image.open(path) for path in paths], [*paths[:2], *PICTURES[2:]]),
        *(expected, expected.numpy(), expected.permute(0, 2, 3, 1).numpy(), list(expected)),
    ]
    for form in forms:
        found = images(form)
        assert found.dtype == torch.uint8
        assert torch.equal(found, expected)
    alone = [paths[1], PICTURES[1], channels_first[1], Image.open(paths[1]), expected[1]]
    for form in alone:
        assert torch.equal(images(form), expected[1:2])


def test_grey_and_transparent_pictures():
    grey = partial(to_images, shape=(1, 10, 10), levels=256)
    pictures = PICTURES[..., 0]
    expected = torch.tensor(pictures[:, 1:11])[:, None]
    for form in (pictures, pictures[..., None], pictures[:, None]):
        assert torch.equal(grey(form), expected)
    assert torch.equal(grey(pictures[0]), expected[:1])
    clear = np.concatenate([PICTURES, np.zeros_like(PICTURES[..., :1])], axis=3)
    assert images(clear).unique().tolist() == [255]  # on white, as in training


@pytest.mark.parametrize(
    ("form", "says"),
    [
        (np.full((2, 8, 8, 3), 0.5), "values from 0.5 to 0.5, but"),
        (torch.rand(2, 3, 8, 8), "grey levels from 0 to 255: give them as uint8"),
        (4 * torch.rand(2, 3, 8, 8) - 2, "not scaled to 1 or standardised"),
        (torch.full((2, 3, 8, 8), 256), "values from 256 to 256"),
        (np.full((3, 8, 8), -1), "values from -1"),
        (np.full((3, 8, 8), 60_000, dtype=np.uint16), "values from 60000"),
        (torch.full((2, 3, 8, 8), torch.nan), "not finite"),
        (torch.full((2, 3, 9, 9), 7.0), "x has shape (2, 3, 9, 9), expected (batch, 3, 8, 8)"),
        (np.zeros((2, 5, 6, 7), dtype=np.uint8), "x has shape (2, 5, 6, 7)"),
        (np.zeros(7, dtype=np.uint8), "x has shape (7,)"),
        ([], "x has shape (0,)"),
        (["none.png"], "none.png does not exist"),
        (np.array(["a"]), "x is not an array of numbers"),
        (None, "x is not an array of numbers: NoneType"),
        (Image.new("F", (8, 8)), "float pixels"),
    ],
)
def test_what_is_no_image_of_the_model_is_refused(form, says, refused):
    with refused(says):
        images(form)


def test_a_file_that_cannot_be_decoded_is_named(folder, refused):
    (folder / "4.png").write_text("x")
    for number in range(30):
        Image.fromarray(PICTURES[0]).save(folder / f"more{number}.png")
    with refused(str(folder), "4.png: not an image", "innflow-score"):
        images(folder)


def test_other_numbers_of_grey_levels(refused):
    few = partial(to_images, shape=(1, 2, 2), levels=2)
    assert few(torch.ones(3, 1, 2, 2)).sum() == 12  # binary images may be floats
    with refused("values from 2 to 2", "from 0 to 1"):
        few(torch.full((3, 1, 2, 2), 2))


class Frame:
    """What a data frame of pandas or polars has in common."""

    def __init__(self, columns: dict[str, list]):
        self.columns = list(columns)
        self.values = columns

    def to_numpy(self) -> np.ndarray:
        columns = [np.array(values) for values in self.values.values()]
        mixed = any(column.dtype.kind in "UO" for column in columns)
        return np.stack([c.astype(object) for c in columns] if mixed else columns, axis=1)


def test_text_in_a_frame_becomes_indicators():
    names = ["c=blue", "a", "c=red"]
    given = Frame({"a": [1.0, 2.0], "c": ["red", "green"]})
    assert to_vectors(given, names, known=True).tolist() == [[0, 1, 1], [0, 2, 0]]


def frame(**others) -> Frame:
    return Frame({name: VALUES[:, NAMES.index(name)].tolist() for name in "cab"} | others)


def test_all_forms_of_vectors(tmp_path, caplog):
    expected = torch.tensor(VALUES)
    np.savetxt(tmp_path / "t.csv", VALUES, delimiter=",", header="a,b,c", comments="", fmt="%.17g")
    swapped = ">f8"
    for form in (VALUES, VALUES.tolist(), VALUES.astype(swapped), frame(), expected):
        assert torch.equal(vectors(form), expected)
    assert torch.equal(vectors(tmp_path / "t.csv"), expected.float())
    assert torch.equal(vectors(VALUES[2]), expected[2:3])
    assert vectors(np.arange(6, dtype=np.uint32).reshape(2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert not caplog.records
    assert torch.equal(vectors(frame(kind=["x"] * 5)), expected)
    assert "x: kind ignored, the run has no such columns" in caplog.text
    plain = to_vectors(frame(), ["x0", "x1", "x2"], known=False)  # the run has no names
    assert torch.equal(plain, expected[:, [2, 0, 1]])


@pytest.mark.parametrize(
    ("form", "says"),
    [
        (VALUES[:, :2], "x has shape (5, 2), expected (batch, 3)"),
        (np.zeros((2, 3, 1)), "x has shape (2, 3, 1)"),
        (Frame({"a": [1.0], "b": [2.0], "d": [3.0]}), "x has no column c; it has a, b, d"),
        (Frame({"a": [1, 2], "b": [2, 3], "c": ["3", "four"]}), "row 0 (from 0), column c: '3'"),
        (Frame({"a": [1, None], "b": [2, 3], "c": [3, 4]}), "row 1 (from 0), column a: nan"),
        (np.array([[1, 2, np.inf]]), "row 0 (from 0), column c: inf is not a finite number"),
        ([[1.0, 2.0, 3.0], [1.0]], "x is not an array of numbers"),
        (np.zeros((2, 3), dtype=complex), "x is not an array of numbers: ndarray of type complex"),
        (np.array([["1", "2", "3"]]), "x is not an array of numbers"),
        ("none.csv", "none.csv does not exist"),
        ("cat.png", "expected a file of the kind .csv"),
    ],
)
def test_what_is_no_vector_of_the_model_is_refused(form, says, refused):
    with refused(says):
        vectors(form)


def test_an_application_takes_all_forms(folder):
    torch.manual_seed(0)
    app = Generation(flow.glow((3, 8, 8), levels=1, depth=1, hidden=4))
    expected = app.log_prob(read_images(folder, 8, 3)[0])
    for form in (folder, PICTURES, list(PICTURES)):
        assert torch.equal(app.log_prob(form), expected)
    assert len(app.measure(folder)) == 4
    app = Density(flow.vector(3, depth=2, hidden=(8,)))
    app.columns = {"x": NAMES}
    assert torch.equal(app.log_prob(frame()), app.log_prob(VALUES))
    assert app.log_prob(VALUES[0]).shape == (1,)


def test_many_items_go_through_the_flow_in_pieces(monkeypatch):
    app = Density(flow.vector(3, depth=2, hidden=(8,)))
    x = torch.randn(10, 3)
    whole = app.log_prob(x)
    monkeypatch.setattr("innflow.app.application.ELEMENTS", 12)
    torch.testing.assert_close(app.log_prob(x), whole)


def test_a_real_data_frame():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(VALUES, columns=NAMES)[["c", "a", "b"]].assign(kind="x")
    assert torch.equal(vectors(table), torch.tensor(VALUES))

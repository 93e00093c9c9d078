"""Embeddings of sets, series, images and several parts, with missing values."""

from __future__ import annotations

import pytest
import torch

from innflow.flow import (
    ImageEmbedding,
    Observed,
    PartsEmbedding,
    SeriesEmbedding,
    SetEmbedding,
    embed,
)

NAN = torch.nan
EMBEDDINGS = {
    "vector": lambda: Observed((5,)),
    "set": lambda: SetEmbedding((6, 2)),
    "series": lambda: SeriesEmbedding((37, 2), missing=True, hidden=8),
    "short series": lambda: SeriesEmbedding((2, 1), missing=True, hidden=8),
    "image": lambda: ImageEmbedding((2, 9, 6), missing=True, hidden=8),
    "image of one channel": lambda: ImageEmbedding((8, 8), missing=True, hidden=8),
    "parts": lambda: PartsEmbedding(
        (15,), missing=True, parts={"a": {"shape": [4, 2], "kind": "set"}, "b": [5, 1], "c": [2]}
    ),
}


def data(embedding, rows: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, len(embedding.channels), generator=generator)


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_missing_values_have_no_effect_but_that_they_are_missing(name):
    embedding = EMBEDDINGS[name]()
    y = data(embedding)
    y[:, 1], y[0] = NAN, NAN
    context = embedding(y)
    assert context.shape == (4, embedding.features)
    assert bool(context.isfinite().all())
    assert bool(embedding.summarize(y).isfinite().all())
    assert not torch.allclose(context[1:], embedding(y.nan_to_num())[1:])
    weights = list(embedding.parameters())
    if weights:
        gradients = torch.autograd.grad(context.square().sum(), weights)
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_neither_order_nor_place_of_the_items_of_a_set_matters():
    embedding, y = SetEmbedding((6, 2)), torch.randn(3, 6, 2)
    y[:, 4:] = NAN
    order = torch.tensor([3, 5, 0, 4, 2, 1])
    for function in (embedding, embedding.summarize):
        torch.testing.assert_close(function(y[:, order].flatten(1)), function(y.flatten(1)))
    fewer = SetEmbedding((4, 2))
    fewer.load_state_dict(embedding.state_dict())
    torch.testing.assert_close(fewer(y[:, :4].flatten(1)), embedding(y.flatten(1)))


def test_the_number_of_equal_items_matters():
    embedding, y = SetEmbedding((6, 2)), torch.ones(1, 6, 2)
    few = y.clone()
    few[:, 2:] = NAN
    assert not torch.allclose(embedding(few.flatten(1)), embedding(y.flatten(1)), atol=1e-3)


def test_moments_of_a_set():
    y = torch.tensor([[[1.0], [3.0], [NAN]]])
    expected = torch.tensor([[2.0, 1.01, 3.0]])
    found = SetEmbedding((3, 1)).summarize(y.flatten(1))
    torch.testing.assert_close(torch.cat((found[:, :1], found[:, 1:].exp()), dim=1), expected)


def test_a_series_has_the_layout_time_by_channel():
    """A shift along time moves the first feature map; the channels are not mixed up."""
    embedding = SeriesEmbedding((16, 2), hidden=4)
    y = torch.zeros(16, 2)
    y[3, 1] = 5.0
    (maps,) = embedding._maps(y.reshape(1, -1))[:1]
    assert maps.shape == (1, 2, 16)
    assert float(maps[0, 1, 3]) == 5.0
    assert embedding.channels[:4].tolist() == [0, 1, 0, 1]
    assert ImageEmbedding((2, 2, 2)).channels.tolist() == [0] * 4 + [1] * 4


def test_parts_are_embedded_one_by_one():
    embedding = EMBEDDINGS["parts"]()
    y = data(embedding)
    a, b, c = (embedding.parts[name] for name in "abc")
    expected = torch.cat((a(y[:, :8]), b(y[:, 8:13]), c(y[:, 13:])), dim=1)
    torch.testing.assert_close(embedding(y), expected)
    assert embedding.channels.tolist() == [0, 1] * 4 + [2] * 5 + [3, 4]


@pytest.mark.parametrize(
    ("shape", "options", "kind"),
    [
        ((3,), {}, type(None)),
        ((3,), {"missing": True}, Observed),
        ((9, 2), {}, SeriesEmbedding),
        ((9, 2), {"missing": True, "trials": True}, SetEmbedding),
        ((1, 8, 8), {}, ImageEmbedding),
        ((8, 8), {"kind": "image"}, ImageEmbedding),
        ((9, 2), {"kind": "none"}, type(None)),
    ],
)
def test_the_shape_decides(shape, options, kind):
    assert type(embed(shape, **options)) is kind


def test_what_does_not_fit_is_refused(refused):
    with refused("embedding=set", "(9,)", "(n, D)"):
        embed((9,), kind="set")
    with refused("embedding=auto", "(1, 2, 3, 4)"):
        embed((1, 2, 3, 4))
    with refused("12 values together, y has 11"):
        PartsEmbedding((11,), parts={"a": [12]})
    with refused("embedding.parts.a", "kind"):
        PartsEmbedding((11,), parts={"a": {"size": [11]}})
    with refused("heads=3"):
        SetEmbedding((4, 1), heads=3)

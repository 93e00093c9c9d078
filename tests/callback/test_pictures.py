from __future__ import annotations

import pytest
import torch
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import TINY_ARM, train

from innflow import flow
from innflow.app import Density, Generation
from innflow.callback import Pictures
from innflow.data.toy.clouds import Toy

KEYS = ["pictures/samples", "pictures/latent"]


def small() -> Density:
    torch.manual_seed(0)
    return Density(flow.vector(2, depth=1, hidden=(4,)))


def moons() -> Toy:
    return Toy("moons", n=200, n_test=10, batch_size=38)  # five steps an epoch


def run(fit, folder, callback, app, data, epochs=3):
    logger = TensorBoardLogger(folder, name="", version="")
    torch.manual_seed(1)
    callbacks = [] if callback is None else [callback]
    fit(app, data, max_epochs=epochs, logger=logger, callbacks=callbacks, log_every_n_steps=1)
    logger.finalize("success")
    return EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()


@pytest.mark.parametrize(("every", "steps"), [(1, [5, 10, 15]), (2, [5, 15])])
def test_points_in_the_plane_are_drawn_after_every_so_many_validations(every, steps, fit, tmp_path):
    events = run(fit, tmp_path, Pictures(every=every), small(), moons())
    for key in KEYS:
        assert [picture.step for picture in events.Images(key)] == steps
    first, last = events.Images(KEYS[0])[0], events.Images(KEYS[0])[-1]
    assert first.encoded_image_string != last.encoded_image_string


def test_training_is_the_same_with_and_without(fit, tmp_path):
    with_pictures, without = small(), small()
    run(fit, tmp_path / "a", Pictures(), with_pictures, moons())
    drawn = torch.get_rng_state()
    run(fit, tmp_path / "b", None, without, moons())
    assert torch.equal(torch.get_rng_state(), drawn)
    for name, weights in with_pictures.state_dict().items():
        assert torch.equal(weights, without.state_dict()[name]), name
    assert with_pictures.training


def test_a_resumed_run_continues_the_count(fit, tmp_path):
    pictures = Pictures(every=2)
    pictures.load_state_dict({"seen": 1})
    events = run(fit, tmp_path, pictures, small(), moons())
    assert [picture.step for picture in events.Images(KEYS[0])] == [10]
    assert pictures.state_dict() == {"seen": 4}


def test_images_come_in_two_rows_with_the_same_noise(tmp_path, fit):
    from innflow.callback.pictures import _draw_images

    app = Generation(flow.glow((3, 8, 8), levels=1, depth=1, hidden=4))
    (picture,) = _draw_images(app, 5).values()
    (tmp_path / "grid.png").write_bytes(picture.png)
    with Image.open(tmp_path / "grid.png") as image:
        wide, tall = image.size
    assert 2 * 96 < tall < 3 * 96
    assert 5 * 96 < wide < 7 * 96
    assert "T" in picture.caption


def test_an_inverse_problem_shows_a_posterior(tmp_path):
    train(tmp_path / "run", *TINY_ARM, "logger=tensorboard")
    tags = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload().Tags()
    assert tags["images"] == ["pictures/posterior"]


def test_samples_that_are_not_finite_are_logged_and_training_continues(
    fit, tmp_path, caplog, monkeypatch
):
    app = small()
    monkeypatch.setattr(app, "sample", lambda n, seed: torch.full((n, 2), torch.nan))
    events = run(fit, tmp_path, Pictures(), app, moons(), epochs=1)
    assert "pictures: skipped at step 5" in caplog.text
    assert "images" not in events.Tags() or not events.Tags()["images"]
    assert all(torch.isfinite(w).all() for w in app.parameters())


def test_bad_settings_and_no_dashboard_are_refused(fit, refused):
    with refused("callbacks.pictures.every=0"):
        Pictures(every=0)
    with refused("no dashboard", "logger=wandb"):
        fit(small(), moons(), max_epochs=1, callbacks=[Pictures()])

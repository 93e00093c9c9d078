from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from innflow.data.image.cache import cache_key, read_cache, write_cache
from innflow.errors import InnflowError
from innflow.system.file.atomic import writing

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 4), dtype=np.uint8)


def items(images=IMAGES):
    yield from ((f"{i}.png", image) for i, image in enumerate(images))


def test_round_trip(tmp_path):
    assert read_cache(tmp_path, "a") is None
    written = write_cache(tmp_path / "new", "a", items(), 50, "here")
    cached = read_cache(tmp_path / "new", "a", verify=True)
    for found in (written, cached):
        assert torch.equal(found.images, torch.from_numpy(IMAGES))
        assert found.names[7] == "7.png"
        assert found.skipped == []


def test_writing_into_the_tensor_leaves_the_file_alone(tmp_path):
    write_cache(tmp_path, "a", items(), 50, "here").images.zero_()
    assert torch.equal(read_cache(tmp_path, "a").images, torch.from_numpy(IMAGES))


def damage_tail(path):
    path.write_bytes(path.read_bytes()[:-1])


def damage_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [("raw", damage_tail), ("raw", damage_byte), ("json", damage_tail)],
)
def test_damage_is_noticed(tmp_path, caplog, suffix, damage):
    write_cache(tmp_path, "a", items(), 50, "here")
    damage(tmp_path / f"a.{suffix}")
    with caplog.at_level(logging.WARNING):
        assert read_cache(tmp_path, "a", verify=True) is None
    assert "damaged" in caplog.text
    write_cache(tmp_path, "a", items(), 50, "here")
    assert read_cache(tmp_path, "a", verify=True) is not None


def test_pixels_lost_or_label_lost_means_no_cache(tmp_path):
    for suffix in ("raw", "json"):
        write_cache(tmp_path, "a", items(), 50, "here")
        (tmp_path / f"a.{suffix}").unlink()
        assert read_cache(tmp_path, "a") is None


def test_a_failure_leaves_nothing(tmp_path):
    def breaks():
        yield "0.png", IMAGES[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cache(tmp_path, "a", breaks(), 50, "here")
    assert list(tmp_path.iterdir()) == []


def test_skips_are_kept_and_too_many_stop(tmp_path):
    some = [("bad.png", "truncated"), *items(IMAGES[:19])]
    cached = write_cache(tmp_path, "a", some, 20, "here")
    assert cached.skipped == ["bad.png: truncated"]
    assert cached.names[0] == "0.png"
    assert len(cached.images) == 19
    with pytest.raises(InnflowError, match=r"here: more than 5% of 19 images.*bad.png: truncated"):
        write_cache(tmp_path, "b", some, 19, "here")
    assert not list(tmp_path.glob("b*"))
    assert not list(tmp_path.glob("*.tmp*"))


def test_readers_never_see_half_a_cache_while_others_write(tmp_path):
    done = threading.Event()
    failures: list[object] = []

    def write():
        try:
            for _ in range(15):
                write_cache(tmp_path, "a", items(), 50, "here")
        except BaseException as error:
            failures.append(error)

    def read():
        while not done.is_set():
            cached = read_cache(tmp_path, "a", verify=True)
            if cached is not None and not torch.equal(cached.images, torch.from_numpy(IMAGES)):
                failures.append("wrong pixels")

    write_cache(tmp_path, "a", items(), 50, "here")
    writers = [threading.Thread(target=write) for _ in range(2)]
    reader = threading.Thread(target=read)
    reader.start()
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert failures == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.raw"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InnflowError, match="set data"):
        write_cache(tmp_path / "file" / "cache", "a", items(), 50, "here")


def test_key_tells_facts_apart():
    assert cache_key("a", 32, [["x", 1]]) == cache_key("a", 32, [["x", 1]])
    assert len({cache_key("a", 32), cache_key("a", 33), cache_key("b", 32)}) == 3


def test_the_next_build_removes_what_a_killed_one_has_left(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from innflow.system.file.atomic import writing\n"
        "with writing(Path(sys.argv[1]) / 'old.raw') as file:\n"
        "    file.write(b'x' * 100_000)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".old.raw.")
    write_cache(tmp_path, "a", items(), 50, "here")
    assert left.exists()  # its writer could be about to lock it
    with writing(tmp_path / "other.raw"):
        for path in tmp_path.iterdir():
            os.utime(path, (0, 0))
        write_cache(tmp_path, "a", items(), 50, "here")
        names = sorted(path.name.partition(".raw")[0] for path in tmp_path.iterdir())
        assert names == [".other", "a", "a.json"]  # that of a living writer stays

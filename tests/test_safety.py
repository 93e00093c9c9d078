"""Untrusted run folders, pictures, archives and file names run no code and exhaust no memory."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import EpsImagePlugin, Image
from tiny import TINY_MOONS

import innflow
from innflow.analysis.posterior import references
from innflow.app.module import FORMAT
from innflow.command.evaluate import evaluate
from innflow.data.image import cache, tar
from innflow.data.image.decode import decode
from innflow.data.simulation import simulate
from innflow.data.table.files import read_table
from innflow.run.features import restore_coordinates
from innflow.system.file import npz as archive

COMMANDS = ("innflow-eval", "innflow-sample", "innflow-score", "innflow-posterior")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class Bomb:
    """What unpickling must never call."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path) -> Path:
    """Return a path that is there once foreign code has run."""
    return tmp_path / "exploded"


@pytest.fixture
def stolen(vector_run, tmp_path) -> Path:
    """Return a copy of a finished run, to be tampered with."""
    return Path(shutil.copytree(vector_run, tmp_path / "stolen"))


def tamper(run: Path, change, which: str = "best") -> None:
    """Change the dict of a run's checkpoint."""
    path = run / f"checkpoints/{which}.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)


def one_line(answer, *fragments: str) -> None:
    """Check that a command has ended with one line that holds all the fragments."""
    assert answer.code == 2, answer
    assert len(answer.err.splitlines()) == 1, answer.err
    assert all(fragment in answer.err for fragment in fragments), answer.err


def zipped(path: Path, mark: Path) -> None:
    """Write what torch.save makes of a bomb, with the keys of a checkpoint."""
    torch.save({"state_dict": {}, "innflow": {"format": FORMAT, "config": Bomb(mark)}}, path)


def bare(path: Path, mark: Path) -> None:
    """Write a pickle and nothing around it, as torch did long ago."""
    path.write_bytes(pickle.dumps(Bomb(mark), protocol=2))


def arrays(path: Path, mark: Path) -> None:
    """Write an archive one of whose arrays is a pickle."""
    objects = {"draws": np.array([Bomb(mark)], dtype=object), "x": np.zeros(1), "y": np.zeros(1)}
    with path.open("wb") as file:
        np.savez(file, **objects, mean=objects["draws"], format=objects["draws"])


@pytest.mark.representatives("*-innflow-eval")
@pytest.mark.parametrize("command_name", COMMANDS)
@pytest.mark.parametrize(
    ("place", "write"),
    [
        ("checkpoints/best.ckpt", zipped),
        ("checkpoints/best.ckpt", bare),
        ("companions/general.ckpt", zipped),
        ("companions/general.ckpt", bare),
        ("scores.npz", arrays),
        ("scores.npz", bare),
    ],
)
def test_a_pickle_in_a_run_folder_is_refused(command, command_name, place, write, stolen, mark):
    (stolen / place).parent.mkdir(exist_ok=True)
    write(stolen / place, mark)
    Path("points.csv").write_text("a,b\n0,0\n")
    more = {"innflow-score": ["input=points.csv"], "innflow-posterior": ["y=points.csv"]}
    answer = command(command_name, f"run={stolen}", *more.get(command_name, []))
    one_line(answer, str(stolen / place))
    assert not mark.exists()


@pytest.mark.parametrize("key", ["init", "companions.general", "ckpt"])
@pytest.mark.parametrize("write", [zipped, bare])
def test_a_pickle_is_no_start_no_companion_and_nothing_to_resume(command, key, write, stolen, mark):
    for name in ("best", "last"):
        write(stolen / f"checkpoints/{name}.ckpt", mark)
    given = [f"run_dir={stolen}", "ckpt=last"] if key == "ckpt" else [f"{key}={stolen}"]
    answer = command("innflow-train", *TINY_MOONS, *given)
    assert answer.code != 0
    assert not mark.exists()
    one_line(answer, str(stolen))


def read_coordinates(path: Path) -> None:
    module = SimpleNamespace(load_state=lambda state: None)
    restore_coordinates(module, path.parent)


def read_reference(path: Path) -> None:
    study = SimpleNamespace(run_dir=path.parent.parent)
    drawn = references._load(study, 0, 1, 0)
    assert drawn.tolist() == [7.0]


CACHES = {
    "coordinates.npz": (arrays, read_coordinates, "damaged"),
    "table.npz": (arrays, read_table, "(N,) or (N, D) numbers"),
    "simulations.npz": (arrays, lambda path: not simulate.read_simulations(path) or 1 / 0, None),
    "images.json": (bare, lambda path: cache.read_cache(path.parent, "images") and 1 / 0, None),
    "references/key.npz": (arrays, read_reference, None),
}
"""File -> how to plant a pickle in it, who reads it, and the refusal; None: made anew."""


@pytest.mark.parametrize("name", CACHES)
def test_a_pickle_in_a_cache_is_not_run(name, tmp_path, mark, refused, monkeypatch):
    monkeypatch.setattr(references, "_key", lambda *args: "key")
    monkeypatch.setattr(references, "_draw", lambda *args: np.array([7.0]))
    write, read, refusal = CACHES[name]
    path = tmp_path / "place" / name
    path.parent.mkdir(parents=True)
    path.with_suffix(".raw").write_bytes(b"")
    write(path, mark)
    if refusal is None:
        read(path)
    else:
        with refused(str(path), refusal):
            read(path)
    assert not mark.exists()


ATTACKS = {
    "builtins.eval": {"_args_": ["__import__('os').mkdir('{mark}')"]},
    "builtins.exec": {"_args_": ["import os; os.mkdir('{mark}')"]},
    "os.system": {"command": "mkdir {mark}"},
    "subprocess.run": {"args": ["mkdir", "{mark}"]},
    "torch.load": {"f": "{here}/bomb.pt", "weights_only": False},
    "torch.hub.load": {"repo_or_dir": "{here}", "source": "local", "model": "made"},
    "torch.jit.load": {"f": "{here}/bomb.pt"},
    "torch.utils.cpp_extension.load": {"name": "made", "sources": ["{here}/made.cpp"]},
    "torch.package.PackageImporter": {"file_or_buffer": "{here}/bomb.pt"},
    "torch.serialization.os.mkdir": {"path": "{mark}"},
    "torch.nn.DataParallel": {"module": None},
    "torch.nn.modules.module.torch.os.mkdir": {"path": "{mark}"},
    "torch.distributed.nn.RemoteModule": {"remote_device": "cpu", "module_cls": "made.Made"},
    "torch.fx.GraphModule": {"root": {}, "graph": None},
    "torch.jit.ScriptModule": {},
    "torchvision.models.get_model": {"name": "resnet18", "weights": "DEFAULT"},
    "torchvision.models.resnet.load_state_dict_from_url": {"url": "file://{here}/bomb.pt"},
    "torchvision.datasets.folder.os.mkdir": {"path": "{mark}"},
    "innflow.app.module.torch.load": {"f": "{here}/bomb.pt", "weights_only": False},
    "innflow.data.simulation.forward.ForwardModel": {"path": "made.made", "rows": None},
    "innflow.data.simulation.prior.Prior": {"path": "made.made"},
    "innflow.data.simulation.imports.resolve": {"path": "made.made", "key": ""},
    "innflow.config.build.build": {"config": {"a": 1}, "path": ""},
    "made.made": {},
    "joblib.load": {"filename": "{here}/bomb.pt"},
    "numpy.load": {"file": "{here}/bomb.pt", "allow_pickle": True},
    "shutil.copyfile": {"src": "/dev/null", "dst": "{mark}"},
    "innflow.data.image.cache.np.load": {"file": "{here}/bomb.pt", "allow_pickle": True},
    "innflow.data.image.cache.Path.mkdir": {"_args_": ["{mark}"]},
    "innflow.flow.coupling.torch.hub.load": {"repo_or_dir": "{here}", "model": "made"},
    "innflow.data.write_shards": {"folder": "{here}", "out": "{mark}"},
    "hydra.utils.instantiate": {"_args_": [{"a": 1}]},
}


@pytest.fixture
def attack(command, tmp_path, mark):
    """Return `attack(target)`, a node that would run code; the folder of commands helps it to."""
    here = Path.cwd()
    for name in ("made", "hubconf"):
        Path(f"{name}.py").write_text(
            f"import os\ndef made(*args):\n    os.mkdir({str(mark)!r})\nmade()\n"
        )
    bare(here / "bomb.pt", mark)

    def fill(value):
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [fill(item) for item in value]
        return value.format(mark=mark, here=here) if isinstance(value, str) else value

    yield lambda target: {"_target_": target, **fill(ATTACKS[target])}
    sys.modules.pop("made", None)


@pytest.mark.representatives("*-model")
@pytest.mark.parametrize("place", ["model", "model.subnet", "score.scores.deep.er", "optimizer"])
@pytest.mark.parametrize("target", ATTACKS)
def test_a_checkpoint_names_no_code(target, place, attack, stolen, mark, refused):
    def plant(checkpoint):
        *parents, last = place.split(".")
        node = checkpoint["innflow"]["config"]
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = [attack(target)] if last == "er" else attack(target)

    tamper(stolen, plant)
    with refused(str(stolen), target, "trust=True"):
        innflow.load(stolen)
    assert not mark.exists()


@pytest.mark.representatives("*-data")
@pytest.mark.parametrize("group", ["data", "analysis"])
@pytest.mark.parametrize("target", ATTACKS)
def test_evaluation_and_resimulation_name_no_code(
    target, group, attack, command, stolen, mark, monkeypatch
):
    node = attack(target)
    tamper(
        stolen,
        lambda checkpoint: checkpoint["innflow"]["config"].update(
            {group: node if group == "data" else {"one": {"deep": [node]}}}
        ),
    )
    one_line(command("innflow-eval", f"run={stolen}"), target, "trust=True")
    assert not mark.exists()


SIMULATOR = {"_target_": "innflow.data.Simulator", "prior": "innflow.problem.arm.prior"}


@pytest.mark.representatives("*forward*", "*np.load*", "*args*")
@pytest.mark.parametrize(
    "change",
    [
        {"prior": "made.made"},
        {"forward": "made.made"},
        {"noise": "made.made"},
        {"reference": "made.made"},
        {"prior": "innflow.problem.arm.np.load"},
        {"_args_": ["made.made", "made.made"]},
    ],
    ids=str,
)
def test_import_paths_of_a_run_are_code(change, attack, command, stolen, inverse_run, mark):
    run = Path(shutil.copytree(inverse_run, stolen.parent / "inverse"))
    tamper(run, lambda checkpoint: checkpoint["innflow"]["config"]["data"].update(change))
    one_line(command("innflow-eval", f"run={run}"), "trust=True")
    Path("y.csv").write_text("y0,y1\n1,0\n")
    answer = command("innflow-posterior", f"run={run}", "y=y.csv", "n=5", "out=drawn")
    assert "trust=" in answer.out + answer.err
    assert not mark.exists()


def test_nothing_is_built_from_the_yaml_of_a_run(attack, command, stolen, mark):
    bad = {"data": attack("os.system"), "score": {"headline": "${oc.env:HOME}"}}
    (stolen / "config.yaml").write_text(json.dumps({**bad, "hydra": {"run": attack("made.made")}}))
    (stolen / "overrides.yaml").write_text("!!python/object/apply:os.mkdir ['made']\n")
    answer = command("innflow-eval", f"run={stolen}", "analysis=none", "out=tested")
    assert answer.code == 0, answer.err
    assert not mark.exists()
    assert not Path("made").exists()


HIDDEN = {
    "model.subnet": {"_target_": "made.made"},
    "callbacks.mine": {"_target_": "os.system", "command": "mkdir {mark}"},
    "analysis.mine": {**SIMULATOR, "prior": "made.made", "forward": "made.made"},
    "data": {"_target_": SIMULATOR["_target_"], "_args_": ["made.made", "made.made"]},
    "name": "${oc.env:HOME}",
}


@pytest.mark.parametrize("place", HIDDEN)
def test_a_run_goes_on_without_code_of_its_yaml(place, attack, command, stolen, mark):
    path = stolen / "config.yaml"
    config = yaml.safe_load(path.read_text())
    *parents, last = place.split(".")
    node = config
    for name in parents:
        node = node[name]
    node[last] = HIDDEN[place]
    path.write_text(yaml.safe_dump(config))
    answer = command("innflow-train", f"run_dir={stolen}", "ckpt=last")
    assert not mark.exists()
    one_line(answer, str(stolen))


STORED = [
    "+hydra.callbacks.x={_target_:os.mkdir,path:made}",
    "++hydra.run.dir=elsewhere",
    "hydra/launcher=joblib",
    "name=${oc.env:HOME}",
    "+data.note=a${hydra:runtime.cwd}",
    "--config-dir=elsewhere",
    "--multirun",
]


@pytest.mark.parametrize("stored", STORED)
def test_stored_overrides_run_no_code(stored, command, stolen):
    path = stolen / "overrides.yaml"
    path.write_text(yaml.safe_dump([*yaml.safe_load(path.read_text()), stored]))
    before = path.read_text()
    answer = command("innflow-train", f"run_dir={stolen}", "ckpt=last")
    one_line(answer, "overrides.yaml", stored.split("=")[0])
    assert path.read_text() == before
    assert not Path("made").exists()
    assert not Path("elsewhere").exists()


def test_a_run_reads_no_environment(command, stolen, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")

    def plant(checkpoint):
        checkpoint["innflow"]["config"]["note"] = {"a": ["${oc.env:AWS_SECRET_ACCESS_KEY}"]}

    tamper(stolen, plant)
    answer = command("innflow-eval", f"run={stolen}", "study.train_limit=20", "out=tested")
    one_line(answer, "${oc.env:", "not resolved")
    assert not Path("tested").exists()


def header(kind: str, width: int, height: int) -> bytes:
    """Return an image file that claims a size and holds next to nothing."""
    buffer = io.BytesIO()
    Image.new("L", (3, 5), 9).save(buffer, kind)
    data = buffer.getvalue()
    at, form = {
        "PNG": (16, ">II"),
        "GIF": (6, "<HH"),
        "BMP": (18, "<ii"),
        "JPEG": (data.find(b"\xff\xc0") + 5, ">HH"),
    }.get(kind, (0, ""))
    if kind == "PPM":
        return data.replace(b"3 5", b"%d %d" % (width, height))
    if kind == "TIFF":
        for tag, value in ((256, width), (257, height)):
            entry = data.find(struct.pack("<H", tag), 8)
            data = data[: entry + 2] + struct.pack("<HII", 4, 1, value) + data[entry + 12 :]
        return data
    if kind == "WEBP":
        still = data[12:]
        size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
        frame = bytes(6) + bytes([2, 0, 0, 4, 0, 0]) + bytes(4) + still
        body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0]) + size
        body += b"ANIM" + struct.pack("<I", 6) + bytes(6)
        body += b"ANMF" + struct.pack("<I", len(frame)) + frame
        return b"RIFF" + struct.pack("<I", len(body)) + body
    size = (height, width) if kind == "JPEG" else (width, height)
    data = data[:at] + struct.pack(form, *size) + data[at + struct.calcsize(form) :]
    if kind == "PNG":
        data = data[:29] + struct.pack(">I", zlib.crc32(data[12:29])) + data[33:]
    return data


KINDS = ("PNG", "JPEG", "GIF", "TIFF", "BMP", "PPM", "WEBP")


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_claims_to_be_huge_is_refused_by_name(kind, command, image_run):
    file = Path(f"bomb.{kind.lower()}")
    file.write_bytes(header(kind, 60_000, 50_000))
    one_line(command("innflow-score", f"run={image_run}", f"input={file}"), str(file), "million")
    file.write_bytes(header(kind, 12_000, 9_000))  # above the limit, below where Pillow raises
    one_line(command("innflow-score", f"run={image_run}", f"input={file}"), str(file), "million")


def test_a_picture_that_claims_to_be_huge_takes_no_memory(tmp_path):
    for kind in KINDS:
        (tmp_path / kind).write_bytes(header(kind, 12_000, 9_000))
    code = """if True:
        import pathlib, resource, sys
        from innflow.data.image.decode import decode
        from PIL import Image
        def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        Image.init(); before = peak()
        for path in pathlib.Path(sys.argv[1]).iterdir():
            try: decode(path.read_bytes(), 8, 3)
            except ValueError as error: assert "million" in str(error), (path, error)
            else: raise AssertionError(path)
        assert peak() - before < 40_000, peak() - before
    """
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_one_bomb_among_many_pictures_is_told(command, image_run, photographs, caplog):
    shutil.copytree(photographs / "val/cat", "many")
    for i in range(16):
        shutil.copy(f"many/{i}.png", f"many/copy{i}.png")
    Path("many/\x1b[2Jbomb.png").write_bytes(header("PNG", 60_000, 60_000))
    answer = command("innflow-score", f"run={image_run}", "input=many")
    assert answer.code == 0, answer.err
    assert len(list(csv.reader(io.StringIO(answer.out)))) == 33
    assert "1 left out" in caplog.text
    assert r"\x1b[2Jbomb.png: more than 89 million pixels" in caplog.text


def test_postscript_is_no_picture(tmp_path, mark, monkeypatch):
    ghost = tmp_path / "gs"
    ghost.write_text(f"#!/bin/sh\nmkdir {mark}\n")
    ghost.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(ValueError, match="not an image"):
        decode(data, 8, 3)
    assert not mark.exists()


def write_npz_bomb(path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f8", "fortran_order": False, "shape": (1 << 20,)}
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", buffer.getvalue() + bytes(8 << 20))


def write_npz_liar(path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f8", "fortran_order": False, "shape": (1 << 36,)}
    )
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", buffer.getvalue() + bytes(800))


@pytest.mark.parametrize(
    ("write", "says"), [(write_npz_bomb, "unpack"), (write_npz_liar, "too small for its shape")]
)
def test_an_archive_that_unpacks_to_far_more_is_refused(
    write, says, command, stolen, refused, monkeypatch
):
    monkeypatch.setattr(archive, "LEAST", 1 << 20)
    write(Path("bomb.npz"))
    one_line(command("innflow-score", f"run={stolen}", "input=bomb.npz"), "bomb.npz", says)
    write(stolen / "scores.npz")
    with refused(str(stolen / "scores.npz"), "damaged"):
        innflow.load(stolen)
    assert simulate.read_simulations(Path("bomb.npz")) is None


def test_a_member_of_a_tar_that_claims_far_more_is_refused(tmp_path, refused, monkeypatch):
    monkeypatch.setattr(tar, "_MOST_BYTES", 1 << 20)
    path = tmp_path / "train-0.tar"
    with tarfile.open(path, "w:gz") as file:
        info = tarfile.TarInfo("a\n.png")
        info.size = 4 << 20
        file.addfile(info, io.BytesIO(bytes(info.size)))
    assert path.stat().st_size < 1 << 14
    with refused(str(path), r"a\n.png", "4,194,304 bytes"):
        list(tar.read_items(tar.Shard(str(path), path.stat().st_size, "")))


NAMES = [
    b"a,b.png",
    b'say "hi", it\'s.png',
    b"two\nlines.png",
    b"carriage\rreturn.png",
    b"=HYPERLINK(1+1).png",
    b"+1.png",
    b"-1.png",
    b"@SUM(1).png",
    b"\t=1.png",
    b"\n=2.png",
    "\uff1d3.png".encode(),
    b"raw \xff\xfe bytes.png",
    b"\x1b]0;title\x07.png",
    b"<script>alert(1)<.png",
    " grüße 猫 .png".encode(),
]


@pytest.fixture
def hostile(photographs, tmp_path) -> Path:
    """Return a folder of images under names that break things."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for i, name in enumerate(NAMES):
        source = photographs / f"val/cat/{i}.png"
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(source.read_bytes())
    return folder


def shown(name: bytes) -> str:
    text = os.fsdecode(name).encode("utf-8", "backslashreplace").decode()
    return f"./{text}" if text[0] in "=+-@\t\n\uff1d" else text


def test_scores_of_hostile_names_are_a_valid_table(command, image_run, hostile):
    answer = command("innflow-score", f"run={image_run}", f"input={hostile}", "out=scores.csv")
    assert answer.code == 0, answer.err
    text = Path("scores.csv").read_bytes().decode("utf-8", "strict")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert sorted(row["path"] for row in rows) == sorted(map(shown, NAMES))
    assert all(np.isfinite(float(row["score"])) for row in rows)
    assert not [cell for row in rows for cell in (row["path"], *row) if cell.startswith(FORMULA)]
    if importlib.util.find_spec("pandas"):
        pandas = importlib.import_module("pandas")
        frame = pandas.read_csv("scores.csv", keep_default_na=False)
        assert frame["path"].tolist() == [row["path"] for row in rows]
        assert frame["score"].dtype == np.float64
    # A path that was changed for a spreadsheet is still that of its file.
    assert all((hostile / row["path"]).exists() for row in rows if "\\udc" not in row["path"])
    piped = command("innflow-score", f"run={image_run}", f"input={hostile}")
    assert list(csv.reader(io.StringIO(piped.out, newline="")))[1:] == [
        list(row.values()) for row in rows
    ]


def test_a_hostile_name_moves_no_cursor(command, image_run):
    file = Path("\x1b]0;title\x07\x1b[2J\u202e.png")
    file.write_bytes(b"no picture")
    answer = command("innflow-score", f"run={image_run}", f"input={file}")
    assert answer.code == 2
    assert answer.err.rstrip("\n").isprintable()
    assert r"\x1b]0;title\x07" in answer.err


def test_a_report_of_hostile_names_runs_nothing(image_run, photographs, tmp_path, hostile):
    from run.test_report import PNG, Page

    data, odd = tmp_path / "data", '<img src=x onerror="alert(1)">\n&amp;'
    shutil.copytree(photographs, data)
    (data / "val/dog").rename(data / "val" / odd)
    for i, file in enumerate(sorted((data / "val/ball").iterdir())):
        file.rename(file.with_name(f'{i}"><script>alert({i})<.png'))
    out = tmp_path / "<script>alert('out')<"
    asked = dict.fromkeys(("seed",)) | {"run": str(image_run), "ckpt": "best", "device": "cpu"}
    few = ["analysis.scores.resamples=20", "analysis.samples=null", "analysis.interpolation=null"]
    evaluate(
        {**asked, "out": str(out), "trust": False},
        [f"data.root={data}", *few, "analysis.latent_cloud=null"],
    )
    html = (out / "report.html").read_text(encoding="utf-8")
    assert html.count("<script") == html.count("<script>\nfor (const head of") == 1  # sorts tables
    page = Page(html)
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "link", "base")
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("src", PNG).startswith(PNG)
    text = "".join(page.text)
    assert odd.split("\n")[0] in text
    assert out.name in text

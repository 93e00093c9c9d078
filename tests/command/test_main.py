"""The commands: errors in one line, sweeps, locks and --help."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small import held_elsewhere
from tiny import TINY_IMAGES, TINY_MOONS

import innflow
from innflow.callback.last_checkpoint import LastCheckpoint

MOONS = "+experiment=moons"


def debris(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def refuse(command, tmp_path):
    """Return a check: one line with all fragments, exit code 2, and nothing half-written."""

    def check(name: str, *arguments: str, says: tuple[str, ...]) -> None:
        before = debris(Path.cwd())
        answer = command(name, *arguments)
        assert answer.code == 2, answer
        lines = [line for line in answer.err.splitlines() if not line.startswith("INFO ")]
        assert len(lines) == 1, answer.err
        assert lines[0].startswith(f"{name}: error: ")
        assert all(fragment in lines[0] for fragment in says), lines[0]
        assert answer.out == ""
        assert debris(Path.cwd()) == before
        assert not list(tmp_path.rglob("*.tmp*"))

    return check


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        # misspelt
        ("modl.depth=3", ("modl.depth is unknown", "did you mean model.depth?")),
        ("data.n_tets=9", ("data.n_tets is unknown", "did you mean data.n_test?")),
        ("+data.foo=3", ("data.foo=3 is unknown", "has name, n, n_test")),
        ("+epxeriment=moons", ("epxeriment is unknown", "did you mean experiment?")),
        ("data=moon", ("moon", "moons")),
        ("subnet=mlp", ("subnet is unknown", "did you mean subnet@model.subnet?")),
        ("a=[1,", ("[1,",)),
        # mistyped, or out of range
        ("model.depth=deep", ("model.depth='deep'", "valid integer")),
        ("model.coupling=affin", ("affin", "affine or spline")),
        ("data.batch_size=100000", ("data.batch_size=100000", "19000 training items")),
        ("data.holdout=2", ("data.holdout=2", "between 0 and 1")),
        ("data.name=sun", ("data.name=sun", "moons")),
        ("data=null", ("Config group override",)),
        ("optimizer.lr=fast", ("optimizer.lr='fast'",)),
        ("optimizer.lr=-1", ("optimizer", "learning rate")),
        ("trainer.max_time=soon", ("trainer", "soon")),
        ("trainer.max_steps=many", ("trainer.max_steps='many'",)),
        ("seed=-1", ("seed=-1", "must be an integer")),
        ("name=null", ("name=None", "must be a name")),
        ("name=../beside", ("name=../beside", "run_dir=DIR")),
        ("paths.outputs=null", ("paths.outputs=None", "must be a name")),
        ("seed=lucky", ("seed='lucky'",)),
        ("study.train_limit=0", ("study.train_limit=0", "at least 2")),
        ("score.headline=beauty", ("beauty", "likelihood")),
        ("score.scores.likelihood._target_=no.Such", ("no.Such",)),
        ("latent.z=normal", ("latent",)),
        # a partition that does not add up
        ("partition.right.z=5", ("x <-> z alone", "left 5 = x 2 + pad 3")),
        ("partition.left.x=5", ("partition.left.x=5", "shape (2,)")),
        ("partition.right.z=1.5", ("partition.right.z=1.5", "integer")),
        ("+partition.right.y=9", ("left x 2, right y 9", "no dimension remains for z")),
        # what every run needs, and what does not fit together
        ("~model", ("model: every run needs it; leave ~model away",)),
        ("~model model.depth=2", ("model.depth: was removed by ~model",)),
        ("~optimizer", ("optimizer: every run needs one",)),
        ("objective=mmd", ("objective: Fit needs y (Density)", "which has z (StandardNormal)")),
        ("objective=bottleneck", ("objective: CrossEntropy needs y (ClassMixture)",)),
        (f"run_dir={'a' * 300}", ("File name too long", "choose another folder")),
        # no run there
        ("ckpt=last", ("run_dir=DIR",)),
        ("ckpt=last run_dir=nowhere", ("nowhere", "no such folder")),
    ],
)
def test_a_mistake_is_answered_by_one_line(arguments, says, refuse):
    refuse("innflow-train", MOONS, *arguments.split(" "), says=says)


def test_the_traceback_of_an_error_is_shown_on_request(command):
    answer = command("innflow-train", MOONS, "~optimizer", "hydra.verbose=innflow")
    assert answer.code == 2
    assert "Traceback (most recent call last):" in answer.err
    assert answer.err.splitlines()[-1].startswith("innflow-train: error: optimizer: every run")


def test_a_table_that_is_not_there_is_answered_by_one_line(refuse):
    refuse("innflow-train", "data=table", "data.path=none.csv", says=("none.csv", "does not exist"))


@pytest.mark.parametrize("text", ["data=[0]", "+experiment=[[moons]]", "subnet@model.subnet=[0]"])
def test_a_group_takes_names(text, refuse):
    refuse("innflow-train", text, says=(text, "must be the name of an option"))


def test_an_evaluation_takes_names_of_groups(refuse, vector_run):
    refuse("innflow-eval", f"run={vector_run}", "data=[0]", "out=o", says=("data=[0]", "name"))


def test_an_unknown_experiment_is_answered_by_the_known_ones(refuse):
    refuse("innflow-train", "+experiment=cat_ood", says=("cat_ood", "cats_ood", "moons"))


@pytest.mark.parametrize(
    ("root", "says"),
    [
        ("nowhere", ("nowhere", "does not exist")),
        ("empty", ("empty", "holds no images")),
        ("texts", ("texts", "holds no images")),
        ("a_file", ("a_file", "is a file")),
        ("", ("data.root is empty",)),
        ("broken", ("broken", "more than 5%", "cannot be decoded", "1.png")),
        ("few", ("set test", "cannot be split")),
    ],
)
def test_a_folder_without_images_is_answered_by_one_line(root, says, refuse, photographs):
    for name in ("empty", "texts", "broken/train/cat", "few/train/cat", "few/test/cat"):
        Path(name).mkdir(parents=True)
    Path("texts/readme.txt").write_text("no image")
    Path("a_file").write_text("no folder")
    for i in range(20):
        image = (photographs / f"train/cat/{i}.png").read_bytes()
        Path(f"broken/train/cat/{i}.png").write_bytes(image[:40] if i < 2 else image)
        Path(f"few/train/cat/{i}.png").write_bytes(image)
    Path("few/test/cat/0.png").write_bytes((photographs / "val/cat/0.png").read_bytes())
    refuse("innflow-train", *TINY_IMAGES, f"data.root={root}", says=says)


def test_an_unknown_option_of_the_command_line_is_refused(command):
    answer = command("innflow-train", MOONS, "--fast")
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert line.startswith("innflow-train: error: unrecognized arguments: --fast")


@pytest.fixture
def files(command, vector_run):
    """Make what strangers hand to the other commands."""
    trained = (vector_run / "checkpoints/best.ckpt").read_bytes()
    Path("truncated.ckpt").write_bytes(trained[: len(trained) // 2])
    torch.save({"state_dict": {}, "epoch": 3}, "other.ckpt")
    torch.save(Path, "code.ckpt")
    Path("text.ckpt").write_text("no checkpoint")
    Path("empty").mkdir()
    Path("points.csv").write_text("a,b\n1,2\n3,4\n")
    Path("wide.csv").write_text("a,b,c\n1,2,3\n")
    Path("words.csv").write_text("a,b\n1,two\n")
    Path("no.png").write_text("no image")


RUNS = {
    "run=nowhere": ("nowhere", "does not exist"),
    "run=empty": ("empty", "was the run trained?"),
    "run=text.ckpt": ("text.ckpt", "damaged"),
    "run=other.ckpt": ("other.ckpt", "not a checkpoint of innflow"),
    "run=code.ckpt": ("code.ckpt", "refused", "more than tensors"),
    "run=3": ("run=3", "./3"),
    "ckpt=worst": ("ckpt=worst", "best or last"),
    "trust=perhaps": ("trust=perhaps", "true or false"),
    "fast": ("fast", "key=value"),
}


@pytest.mark.parametrize("name", ["innflow-eval", "innflow-sample", "innflow-score"])
def test_a_run_that_cannot_be_used_is_answered_by_one_line(name, refuse, files, vector_run):
    more = ["input=points.csv"] if name == "innflow-score" else []
    refuse(name, *more, says=("run=... is needed",))
    refuse(name, "run=truncated.ckpt", *more, says=("truncated.ckpt", "truncated or damaged"))
    refuse(name, f"run={vector_run}", *more, "model.depth=3", says=("model.depth is unknown",))
    refuse(name, f"run={vector_run}", *more, "device=toaster", says=("device=toaster",))


@pytest.mark.parametrize(("arguments", "says"), RUNS.items())
def test_a_run_is_refused_with_its_reason(arguments, says, refuse, files, vector_run):
    run = arguments if arguments.startswith("run=") else f"run={vector_run} {arguments}"
    refuse("innflow-sample", *run.split(" "), says=says)


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("n=0", ("n=0", "from 1")),
        ("n=few", ("n=few",)),
        ("n=1.5", ("n=1.5",)),
        ("temperature=-1", ("temperature=-1", "at least 0")),
        ("temperature=nan", ("temperature=nan",)),
        ("seed=-1", ("seed=-1", "from 0")),
        ("out=points.csv", ("points.csv", "cannot be written")),
        ("out=..", ("holds files already",)),
    ],
)
def test_a_sample_that_cannot_be_drawn(argument, says, refuse, files, vector_run):
    refuse("innflow-sample", f"run={vector_run}", argument, says=says)


def test_a_score_without_an_input(refuse, files, vector_run, image_run, photographs):
    def check(run: Path, *arguments: str, says: tuple[str, ...]) -> None:
        refuse("innflow-score", f"run={run}", *arguments, says=says)

    check(vector_run, says=("input=... is needed",))
    check(vector_run, "inptu=points.csv", says=("inptu is unknown; did you mean input?",))
    check(vector_run, "input=none.csv", says=("none.csv", "does not exist"))
    check(vector_run, "input=wide.csv", says=("wide.csv", "the run has x0, x1"))
    check(vector_run, "input=words.csv", says=("words.csv, line 2", "'two'"))
    check(vector_run, f"input={photographs}", says=(str(photographs), ".csv"))
    check(vector_run, "input=points.csv", "out=none/x.csv", says=("out=none/x.csv",))
    check(vector_run, "input=points.csv", "out=empty", says=("out=empty",))
    check(vector_run / "checkpoints/best.ckpt", "input=points.csv", says=("no fitted scores",))
    check(image_run, "input=nowhere", says=("nowhere does not exist",))
    check(image_run, "input=empty", says=("holds no images",))
    check(image_run, "input=no.png", says=("no.png", "cannot be decoded"))
    check(image_run, "input=points.csv", says=("points.csv", "no image"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("data=eight", ("eight",)),
        ("data=simcats", ("(3, 32, 32)", "trained on (2,)")),
        ("data.n_test=none", ("data.n_test='none'",)),
        ("data.n_test=2", ("set test", "cannot be split")),
        ("data.size=4", ("data.size",)),
        ("trainer.max_steps=3", ("trainer.max_steps is unknown here",)),
        ("study=3", ("study is unknown here",)),
        ("seed=-1", ("seed=-1",)),
    ],
)
def test_an_evaluation_that_cannot_be_made(arguments, says, refuse, files, vector_run):
    refuse("innflow-eval", f"run={vector_run}", "out=there", arguments, says=says)


def test_a_run_folder_that_holds_a_run_is_left_alone(refuse, vector_run):
    before = debris(vector_run)
    refuse("innflow-train", MOONS, f"run_dir={vector_run}", says=("holds files already",))
    assert debris(vector_run) == before


def test_a_run_folder_in_use_by_another_process(refuse):
    with held_elsewhere(Path("held")) as let_go:
        refuse("innflow-train", MOONS, "run_dir=held", says=("held", "another process is using it"))
        let_go()
    assert not Path("held").exists()


def test_an_interrupt_before_the_first_step_is_one_line(command, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(LastCheckpoint, "on_fit_start", interrupt)
    try:
        answer = command("innflow-train", *TINY_MOONS)
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores the signal from then on
    assert answer.code == 130
    assert answer.err.splitlines()[-1] == "innflow-train: error: interrupted"


def test_a_run_folder_that_was_chosen(command):
    answer = command("innflow-train", *TINY_MOONS, "run_dir=mine/first", "analysis=none")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[-1] == str(Path("mine/first").absolute())
    assert debris(Path.cwd())[:2] == ["mine", "mine/first"]


def test_a_sweep_gives_each_job_its_folder(command):
    answer = command("innflow-train", "-m", *TINY_MOONS, "seed=1,2", "analysis=none")
    assert answer.code == 0, answer.err
    folders = [Path(line) for line in answer.out.splitlines() if line.startswith("/")]
    assert [folder.name for folder in folders] == ["0", "1"]
    assert all((folder / "metrics.json").is_file() for folder in folders)


def test_a_failing_job_of_a_sweep_leaves_the_other(command):
    depths = "model.depth=0,1"
    answer = command("innflow-train", "-m", *TINY_MOONS, depths, "analysis=none")
    assert answer.code == 2
    job, last = answer.err.splitlines()
    assert job.startswith("innflow-train: job 0: ")
    assert "depth=0" in job
    assert last.startswith("innflow-train: error: ")
    assert "depth=0" in last
    folders = [Path(line) for line in answer.out.splitlines() if line.startswith("/")]
    assert [folder.name for folder in folders] == ["1"]
    assert (folders[0] / "checkpoints/last.ckpt").is_file()


HELP = """
import sys
from innflow.command import main
names, sys.argv[1:] = sys.argv[1:], ["--help"]
for name in names:
    try:
        getattr(main, name)()
    except SystemExit as exit:
        assert not exit.code
    assert "torch" not in sys.modules
    print("the end of", name)
"""


HELPS = {
    "innflow": ("innflow-posterior", "cats_ood"),
    "train": ("innflow-train +experiment=cats_ood", "realnvp_flat"),
    "evaluate": ("innflow-eval run=DIR", "run: ???"),
    "sample": ("innflow-sample run=DIR", "temperature: 1.0"),
    "score": ("innflow-score run=DIR", "input: ???"),
    "posterior": ("innflow-posterior run=DIR", "truth: null"),
    "compare": ("innflow-compare 'runs=[DIR,DIR2]'", "proposals: 40000"),
    "explore": ("innflow-explore run=DIR", "port: 8080"),
    "sweep_report": ("innflow-sweep-report DIR", "metric: null"),
}


def test_help_answers_without_torch():
    command = [sys.executable, "-c", HELP, *HELPS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rest = done.stdout
    for name, words in HELPS.items():
        shown, _, rest = rest.partition(f"the end of {name}\n")
        for word in words:
            assert word in shown, name


@pytest.mark.parametrize("name", ["innflow-eval", "innflow-sample", "innflow-score"])
def test_help_of_the_others_shows_every_key(name, command):
    answer = command(name, "--help")
    assert answer.code == 0
    assert answer.err == ""
    for word in (name, "run=DIR", "run: ???", "device: auto"):
        assert word in answer.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("+experiment=cats_od", "experiment=cats_od is unknown; did you mean cats_ood?"),
        (f"{MOONS} model=glo", "model=glo is unknown; did you mean glow?"),
        (
            f"{MOONS} strategy=x",
            "strategy=x is unknown. The options are auto, ddp",
        ),
        ("experiment=moons", "experiment: is added to the config: write +experiment=OPTION"),
    ],
)
def test_an_option_that_does_not_exist_is_named_with_the_closest(words, says, command):
    answer = command("innflow-train", *words.split())
    assert answer.code == 2
    assert answer.err.startswith(f"innflow-train: error: {says}")
    assert len(answer.err.splitlines()) == 1


def test_a_word_after_innflow_is_refused(command):
    answer = command("innflow", "nonsense")
    assert answer.code == 2
    assert answer.err.startswith("innflow: error: nonsense is unknown")


def test_a_command_without_arguments_shows_its_help(command):
    assert "Experiments" in command("innflow-train").out
    answer = command("innflow")
    assert answer.err == ""
    for word in ("innflow-posterior", "draw parameters for observed data", "inverse_ballistics"):
        assert word in answer.out
    assert debris(Path.cwd()) == []


@pytest.mark.parametrize("name", ["innflow", "innflow-train", "innflow-sample"])
def test_every_command_shows_the_version(name, command):
    assert command(name, "--version").out == f"innflow {innflow.__version__}\n"


def test_a_config_is_shown_without_a_run(command):
    answer = command("innflow-train", MOONS, "--cfg", "job")
    assert answer.code == 0
    assert "name: moons" in answer.out
    assert debris(Path.cwd()) == []


def test_a_key_that_only_the_user_can_know_is_asked_for(command):
    answer = command("innflow-train", "+experiment=simulator")
    assert answer.code == 2
    assert answer.err == (
        "innflow-train: error: data.prior=... is needed; --cfg job shows every key\n"
    )
    prior = "data.prior=innflow.problem.two_moons.prior"
    answer = command("innflow-train", "+experiment=simulator", prior)
    assert answer.code == 2
    assert answer.err == "innflow-train: error: data.forward, data.command: give one of them\n"

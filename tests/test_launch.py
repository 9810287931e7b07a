import dataclasses
import importlib
import pkgutil

import pytest

import bitmoji_jax
import experiments
from bitmoji_jax import cli, launcher
from bitmoji_jax import experiments as packaged
from bitmoji_jax.config import REFINE_IMAGES, TEACH_IMAGES, ExperimentConfig, GeneratorConfig
from bitmoji_jax.errors import InputError, RunError

EXPERIMENTS = sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def parse(argv: list[str]) -> launcher.Arguments:
    return launcher.parse(argv, experiments, prog="launch.py")


def main(argv: list[str]) -> int:
    return launcher.main(argv, experiments, prog="launch.py")


def experiment(name: str) -> ExperimentConfig:
    return importlib.import_module(f"experiments.{name}").get_experiment()


def exit_of(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """Exit code, and the output as one line without the frame around it."""
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    printed = capsys.readouterr()
    return exit_.value.code, " ".join((printed.out + printed.err).replace("│", " ").split())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_without_flags_the_experiment_is_that_of_its_file(name: str) -> None:
    arguments = parse(["--exp", name])
    assert arguments.config == experiment(name)
    assert (arguments.exp, arguments.workdir, arguments.overwrite, arguments.profile) == (name, None, False, 0)
    assert not arguments.distributed


def test_flags_override_the_experiment_and_nothing_else() -> None:
    flags = (
        "--exp demo --workdir w --overwrite --data.dir d --data.no-flip --generator.upsample subpixel "
        "--train.batch-size 6 --train.learning_rate 1e-3 --log.metrics-every 10"
    )
    arguments = parse(flags.split())
    demo = experiment("demo")
    assert arguments.config == dataclasses.replace(
        demo,
        data=dataclasses.replace(demo.data, dir="d", flip=False),
        generator=dataclasses.replace(demo.generator, upsample="subpixel"),
        train=dataclasses.replace(demo.train, batch_size=6, learning_rate=1e-3),
        log=dataclasses.replace(demo.log, metrics_every=10),
    )
    assert (arguments.workdir, arguments.overwrite) == ("w", True)


@pytest.mark.parametrize(
    ("flags", "refine", "teach"),
    [
        ("--exp res5", 0, 0),
        ("--exp res5 --refine", REFINE_IMAGES, TEACH_IMAGES),
        ("--refine --exp cyclegan --train.batch-size 2", REFINE_IMAGES, TEACH_IMAGES),
        ("--exp res5 --refine --teach.images 0", REFINE_IMAGES, 0),
        ("--exp res5 --refine.images 300 --refine", 300, TEACH_IMAGES),
        ("--exp res5 --refine.images 300", 300, 0),
        ("--exp res5 --no-refine", 0, 0),
        ("--exp res3 --refine", REFINE_IMAGES, TEACH_IMAGES),
        ("--exp demo --teach.images 0", experiment("demo").refine.images, 0),
        ("--exp bitmoji --refine", experiment("bitmoji").refine.images, experiment("bitmoji").teach.images),
    ],
)
def test_refine_adds_the_later_stages_and_flags_say_how_long_they_are(flags: str, refine: int, teach: int) -> None:
    config = parse(flags.split()).config
    assert (config.refine.images, config.teach.images) == (refine, teach)
    of_the_file = experiment(next(word for word in flags.split() if word in EXPERIMENTS))
    assert dataclasses.replace(config.refine, images=0) == dataclasses.replace(of_the_file.refine, images=0)
    assert dataclasses.replace(config.teach, images=0) == dataclasses.replace(of_the_file.teach, images=0)
    assert (config.data, config.generator, config.refiner) == (
        of_the_file.data,
        of_the_file.generator,
        of_the_file.refiner,
    )


def test_init_from_is_short_for_the_field() -> None:
    flags = "--exp bitmoji --init-from pretrained --train.constant-epochs 0 --train.decay-epochs 0"
    assert parse(flags.split()).config.train.init_from == "pretrained"
    assert parse(["--exp", "bitmoji"]).config.train.init_from is None


def test_the_help_says_what_refine_adds(capsys: pytest.CaptureFixture[str]) -> None:
    _, printed = exit_of(["--exp", "res5", "--help"], capsys)
    assert REFINE_IMAGES == TEACH_IMAGES
    assert f"{REFINE_IMAGES:,} pairs each" in printed


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("", "--exp"),
        ("--exp demo --train.batchsize 3", "--train.batch-size"),
        ("--exp demo --generator.resblocks 3", "--generator.res-blocks"),
        ("--exp demo --train.batch-size many", "--train.batch-size"),
        ("--exp demo --train.batch-size 1.5", "--train.batch-size"),
        ("--exp demo --train.learning-rate fast", "--train.learning-rate"),
        ("--exp demo --generator.upsample bilinear", "--generator.upsample"),
        ("--exp demo --profile yes", "--profile"),
    ],
)
def test_bad_usage_exits_2_and_names_the_right_flag(flags: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed = exit_of(flags.split(), capsys)
    assert code == 2
    assert named in printed
    assert all(word in printed for word in flags.split()[3:])  # the value


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--exp rez5", f"error: no experiment 'rez5'; did you mean res5? There are: {', '.join(EXPERIMENTS)}\n"),
        ("--exp zzzz", f"error: no experiment 'zzzz'. There are: {', '.join(EXPERIMENTS)}\n"),
        ("--exp demo --train.batch-size 0", "error: train.batch_size must be at least 1\n"),
        (
            "--exp demo --distributed --devices 2",
            "error: --devices is for a run of one process: without --distributed\n",
        ),
        (
            "--exp res5 --refine --data.image-size 96",
            "error: data.image_size must be a power of 2 and at least 32, with a refiner\n",
        ),
    ],
)
def test_bad_input_exits_2_with_one_line(flags: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags.split()) == 2
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize("name", ["demo", "res7"])
def test_help_lists_every_flag_with_the_defaults_of_the_experiment(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = exit_of(["--exp", name, "--help"], capsys)
    assert code == 0
    config = experiment(name)
    for section in dataclasses.fields(config):
        options = getattr(config, section.name)
        for field in dataclasses.fields(options):
            flag = f"--{section.name}.{field.name.replace('_', '-')}"
            assert f"{flag} " in printed.replace(",", " ")
            help_text = printed[printed.replace(",", " ").index(f"{flag} ") :]  # not of a longer flag
            default = help_text[help_text.index("(default: ") :].split(")")[0]
            assert default == f"(default: {getattr(options, field.name)}", flag


def test_the_launcher_passes_its_arguments_to_train(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple] = []
    monkeypatch.setattr(bitmoji_jax, "train", lambda *args, **kwargs: calls.append((args, kwargs)))
    assert main(["--exp", "res3"]) == 0
    assert main(["--exp", "demo", "--workdir", "w", "--overwrite", "--profile", "5", "--devices", "2"]) == 0
    assert calls == [
        ((experiment("res3"), "runs/res3"), {"overwrite": False, "profile_steps": 0, "devices": None}),
        ((experiment("demo"), "w"), {"overwrite": True, "profile_steps": 5, "devices": 2}),
    ]


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (InputError("no such thing; make it"), 2, "error: no such thing; make it\n"),
        (RunError("disk full"), 1, "error: disk full\n"),
        (KeyboardInterrupt("saved"), 130, "interrupted: saved\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_an_error_is_an_exit_code_and_one_line_on_stderr(
    raised: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def train(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(bitmoji_jax, "train", train)
    assert main(["--exp", "demo"]) == code
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", line)


def test_all_documented_experiments_are_there() -> None:
    assert {"demo", "res3", "res5", "res7", "res9", "cyclegan"} <= set(EXPERIMENTS)


@pytest.mark.parametrize("blocks", [3, 7, 9])
def test_the_depth_study_varies_nothing_but_the_residual_blocks(blocks: int) -> None:
    res5, other = experiment("res5"), experiment(f"res{blocks}")
    assert other.generator.res_blocks == blocks
    assert dataclasses.replace(other, generator=res5.generator) == res5
    assert dataclasses.replace(other.generator, res_blocks=5) == res5.generator


def test_res5_is_the_article() -> None:
    res5 = experiment("res5")
    assert (res5.generator.res_blocks, res5.generator.skips, res5.generator.features) == (5, True, 64)
    assert res5.data.image_size == 128
    assert res5.train.constant_epochs + res5.train.decay_epochs == 30


def test_cyclegan_is_the_reference_recipe() -> None:
    config = experiment("cyclegan")
    data, train = config.data, config.train
    assert config.generator == GeneratorConfig(features=64, res_blocks=9, skips=False, upsample="transpose")
    assert config.discriminator.features == 64
    assert data.image_size == 256
    assert round((1 + data.crop_margin) * data.image_size) == 286
    assert data.flip
    assert (train.batch_size, train.accumulation_steps) == (1, 1)
    assert (train.constant_epochs, train.decay_epochs) == (100, 100)
    assert (train.learning_rate, train.beta1, train.beta2) == (2e-4, 0.5, 0.999)
    assert (train.cycle_weight, train.identity_weight) == (10, 5)
    assert train.pool_size == 50


def test_demo_runs_on_the_built_in_data() -> None:
    demo = experiment("demo")
    assert (demo.data.dir, demo.data.name) == (None, None)
    assert demo.data.image_size == 64


def test_a_checkout_and_the_package_have_the_same_experiments() -> None:
    assert sorted(module.name for module in pkgutil.iter_modules(packaged.__path__)) == EXPERIMENTS
    for name in EXPERIMENTS:
        assert importlib.import_module(f"bitmoji_jax.experiments.{name}").get_experiment() == experiment(name)


def test_the_command_train_is_the_launcher(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[tuple] = []
    monkeypatch.setattr(bitmoji_jax, "train", lambda *args, **kwargs: calls.append((args, kwargs)))
    assert cli.main(["train", "--exp", "res3", "--workdir", "w"]) == 0
    assert calls == [((experiment("res3"), "w"), {"overwrite": False, "profile_steps": 0, "devices": None})]
    assert cli.main(["train", "--exp", "rez5"]) == 2
    assert "did you mean res5?" in capsys.readouterr().err
    with pytest.raises(SystemExit) as exit_:
        cli.main(["train", "--exp", "demo", "--help"])
    assert exit_.value.code == 0
    assert "--train.batch-size" in capsys.readouterr().out

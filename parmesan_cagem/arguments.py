"""The flags of the run scripts, generated from :class:`Experiment`: one field, one flag."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from parmesan_cagem import config, places, presets
from parmesan_cagem.config import Experiment
from parmesan_cagem.errors import UserError

_LONGEST = 255  # bytes of a name on every file system that Linux has


@dataclass(frozen=True)
class Job:
    """Where and how to run an experiment: nothing here changes a number.

    Attributes
    ----------
    data_dir : Path or None
        Folder of the data set.
    folder : Path
        The run's folder, ``<out>/<name>``.
    resume, quiet : bool
    unverified : bool
        Accept a data file of unknown content; the record says so.
    train_only : bool
        Stop before the evaluation.
    require_gpu : bool
        Refuse to compute on a CPU.
    """

    data_dir: Path | None
    folder: Path
    resume: bool
    quiet: bool
    unverified: bool = False
    train_only: bool = False
    require_gpu: bool = False


class Parser(argparse.ArgumentParser):
    """A wrong flag is a user's mistake like any other: one line."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse does it, but for ``--flag=--``, which it takes for a flag whose value is an empty list."""
        for word in sys.argv[1:] if args is None else args:
            flag, equals, value = word.partition("=")
            if flag[:1] == "-" and equals and value == "--":
                self.error(f"argument {flag}: expected one argument, not --")
        return super().parse_known_args(args, namespace)

    def print_help(self, file: Any = None) -> None:
        """As argparse does it, but that a failure to print is one: argparse's own method says nothing."""
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def parse(arguments: Sequence[str], dataset: str, prog: str) -> tuple[Experiment, Job]:
    """Turn a command line into an experiment and a job.

    Raises
    ------
    UserError
        An unknown flag or a bad value.
    """
    given = vars(_parser(dataset, prog).parse_args(list(arguments)))
    preset = given.pop("preset", "paper")
    data_dir, out, name = given.pop("data_dir"), given.pop("out"), given.pop("name", None)
    resume, quiet, unverified = given.pop("resume"), given.pop("no_progress"), given.pop("unverified_data", False)
    if_begun, train_only = given.pop("resume_if_begun"), given.pop("train_only")
    require_gpu = given.pop("require_gpu")
    experiment = config.experiment(preset, dataset=dataset, **given)
    folder = out / (name or default_name(experiment))
    if resume and not name and not folder.exists():
        folder = _nearest(folder, experiment)
    resume = resume or (if_begun and (folder / "config.json").is_file())
    return experiment, Job(data_dir, folder, resume, quiet, unverified, train_only, require_gpu)


def default_name(e: Experiment) -> str:
    """``mnist-cagem-100-short-s1``, and a hash when settings differ from the preset's.

    Only settings that shape the weights count, so that ``--resume`` with more epochs finds its run.
    """
    name = _stem(e)
    named = {"labels": e.labels, "seed": e.seed, "dataset": e.dataset, "model": e.model}
    plain = e.training_hash() == config.experiment(e.preset, **named).training_hash()
    return name if plain else f"{name}-{e.training_hash()[:8]}"


def _stem(e: Experiment) -> str:
    labels = [str(e.labels)] if e.model in presets.WITH_Y else []
    return "-".join([e.dataset, e.model, *labels, e.preset, f"s{e.seed}"])


def flags(e: Experiment) -> list[str]:
    """The flags that say ``e``, but for its data set: model, labels, and all that is not its preset's.

    Examples
    --------
    >>> flags(config.experiment("short", labels=0, clusters=20, skip=False))
    ['--labels', '0', '--preset', 'short', '--clusters', '20', '--no-skip']
    >>> flags(config.experiment("paper", model="iwae")), flags(config.experiment("paper", model="adgm"))
    (['--model', 'iwae'], ['--model', 'adgm', '--labels', '100'])
    """
    usual = config.usual(e.preset, e.dataset, e.model)
    words = ["--model", e.model] if e.model != Experiment.model else []
    words += ["--labels", str(e.labels)] if e.model in presets.WITH_Y else []
    words += ["--preset", e.preset] if e.preset != Experiment.preset else []
    for name, value in e.to_dict().items():
        flag = name.replace("_", "-")
        if name in ("dataset", "preset", "model", "labels") or value == usual[name]:
            continue
        words += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return words


def evaluation_flags(e: Experiment) -> list[str]:
    """Every setting of the evaluation as flags of ``cagem evaluate``, whatever a run was given before."""
    fields = [field.name for field in dataclasses.fields(Experiment) if field.metadata["role"] == "evaluation"]
    return [word for name in fields for word in ("--" + name.replace("_", "-"), str(getattr(e, name)))]


def title(model: str, labels: int) -> str:
    """``CaGeM-100``, ``VAE``: the model's name as the paper writes it, with its labels if it can have some.

    Examples
    --------
    >>> title("cagem", 100), title("adgm", 100), title("vae", 0)
    ('CaGeM-100', 'ADGM-100', 'VAE')
    """
    name = "CaGeM" if model == "cagem" else model.upper()
    return f"{name}-{labels}" if model in presets.WITH_Y else name


def _nearest(folder: Path, e: Experiment) -> Path:
    """The newest run whose name begins alike, so that ``--resume`` can say which settings differ; else ``folder``."""
    runs = [path.parent for end in ("", "-*") for path in folder.parent.glob(f"{_stem(e)}{end}/config.json")]
    return max(runs, key=lambda run: run.stat().st_mtime, default=folder)


def _parser(dataset: str, prog: str) -> argparse.ArgumentParser:
    parser = Parser(
        prog=prog,
        description=f"Train and evaluate on {dataset.upper()}; write one run folder and print its table row.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for field in dataclasses.fields(Experiment):
        if field.name != "dataset":
            own = [f"{p}: {v[field.name]}" for p, v in presets.PRESETS.items() if field.name in v]
            default = presets.DATASETS[dataset].get(field.name, field.default)
            add_field(parser, field, f"default {'; '.join([str(default), *own])}")
    add_data_flags(parser, unverified=dataset == "omniglot")  # MNIST's files exist in one version only
    add_runs_folder(parser, "--out")
    parser.add_argument(
        "--name", type=_folder_name, metavar="NAME", help="name of the run's folder (default: from the settings)"
    )
    parser.add_argument("--resume", action="store_true", default=False, help="go on with the run of that folder")
    parser.add_argument(
        "--resume-if-begun",
        action="store_true",
        default=False,
        help="begin the run, or go on with it if it was begun: one command for every attempt",
    )
    parser.add_argument(
        "--train-only", action="store_true", default=False, help="stop before the evaluation: cagem evaluate does it"
    )
    add_require_gpu(parser)
    parser.add_argument("--no-progress", action="store_true", default=False, help="print results only")
    return parser


def add_require_gpu(parser: argparse.ArgumentParser) -> None:
    """Add ``--require-gpu``."""
    text = "refuse to run where JAX finds no GPU, before anything is computed (else the CPU does the work)"
    parser.add_argument("--require-gpu", action="store_true", default=False, help=text)


def add_field(parser: argparse.ArgumentParser, field: dataclasses.Field[Any], default: str) -> None:
    """Add the flag of a field of :class:`Experiment`; absent from the result where it was not given.

    Parameters
    ----------
    default : str
        What its help says of the value that it has when left out.
    """
    facts, flag = field.metadata, "--" + field.name.replace("_", "-")
    text = f"{facts['help']} ({default}) [{facts['source']}]".replace("%", "%%")
    if isinstance(field.default, bool):
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
    else:
        metavar = "{" + ",".join(facts["choices"]) + "}" if facts["choices"] else type(field.default).__name__.upper()
        parser.add_argument(flag, type=type(field.default), metavar=metavar, default=argparse.SUPPRESS, help=text)


def add_runs_folder(parser: argparse.ArgumentParser, flag: str) -> None:
    """Add ``--out`` or ``--runs``: where run folders lie."""
    text = "folder of run folders (default $CAGEM_RESULTS/runs, else results/runs)"
    parser.add_argument(flag, type=path, default=places.runs(), metavar="DIR", help=text)


def add_data_flags(parser: argparse.ArgumentParser, unverified: bool = True) -> None:
    """Add ``--data-dir`` and, where it has a use, ``--unverified-data``."""
    parser.add_argument(
        "--data-dir",
        type=path,
        metavar="DIR",
        default=None,
        help="folder of the data set (else $CAGEM_DATA, cache, wheel, download)",
    )
    if unverified:
        parser.add_argument(
            "--unverified-data",
            action="store_true",
            default=False,
            help="accept a chardata.mat of the same layout and other content; the record says so",
        )


def path(text: str) -> Path:
    """The type of every flag that names a file or a folder."""
    if not text or "\0" in text:  # Path("") is the current folder, which nobody means by an empty variable
        raise argparse.ArgumentTypeError(f"{text!r} is not a path; the current folder is .")
    return Path(text)


def _folder_name(text: str) -> str:
    if not text or text in (".", "..") or "/" in text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a folder")
    if len(os.fsencode(text)) > _LONGEST:
        raise argparse.ArgumentTypeError(
            f"{text!r} is too long for the name of a folder: give {_LONGEST} bytes at most"
        )
    return text

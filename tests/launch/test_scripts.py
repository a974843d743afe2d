# SPDX-License-Identifier: Apache-2.0
"""launch/: scripts pass shellcheck, run against stand-ins for their schedulers, and do what the exit status
asks; the image, the README and every command line are of what is there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ssl_jax.cli.main import parser
from ssl_jax.parallel import distributed

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
READ = {distributed.COORDINATOR, distributed.NUM_PROCESSES, distributed.PROCESS_ID, "SSL_JAX_CACHE"}
RECIPE = ["bert_base:phase1", "--set", "data.source=books/a b*.txt"]


def parses(words: list[str]) -> str:
    """The command of a line that our parser takes."""
    return parser().parse_args(words).command


# ------------------------------------------------------------------------------------------- scripts


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_pass_bash_and_shellcheck(script):
    subprocess.run(["bash", "-n", script], check=True)
    shellcheck = shutil.which("shellcheck") or Path(sys.executable).with_name("shellcheck")
    if not Path(shellcheck).exists():
        pytest.skip("shellcheck isn't installed (extra [dev])")
    done = subprocess.run([shellcheck, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


class Bench:
    """A folder in which programs are stand-ins that write their arguments down."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "bin").mkdir()

    def stand_in(self, path: str, body: str = "") -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        name = file.name
        file.write_text(
            f'#!/bin/bash\n{{ printf "%s" {name}; printf "\\0%s" "$@"; echo; }} >> {self.log}\n{body}\n'
        )
        file.chmod(0o755)

    @property
    def log(self) -> Path:
        return self.folder / "calls"

    def run(self, script: str, *args: str, **env: str) -> int:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        words = ["bash", LAUNCH / script, *args]
        return subprocess.run(words, cwd=self.folder, env={**os.environ, "PATH": path, **env}).returncode

    def calls(self, name: str) -> list[list[str]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.split("\0")[1:] for line in lines if line.split("\0")[0] == name]


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (1, False), (2, False), (3, False), (75, True)])
def test_slurm_requeues_what_was_stopped_and_nothing_else(bench, status, requeued):
    bench.stand_in("bin/srun", f"exit {status}")
    bench.stand_in("bin/scontrol")
    assert bench.run("slurm.sbatch", *RECIPE, SLURM_JOB_ID="17") == (0 if requeued else status)
    assert bench.calls("scontrol") == [["requeue", "17"]] * requeued
    (words,) = bench.calls("srun")
    at = words.index(".venv/bin/ssl-jax")
    assert parses(words[at + 1 :]) == "pretrain" and words[-3:] == RECIPE


def test_slurm_signals_the_tasks_before_the_time_is_out():
    options = re.findall(r"^#SBATCH (\S+)$", (LAUNCH / "slurm.sbatch").read_text(), re.MULTILINE)
    assert "--requeue" in options and "--signal=TERM@180" in options  # B: would reach the shell alone
    given = dict(option.split("=") for option in options if "=" in option)
    assert given["--ntasks-per-node"] == given["--gpus-per-node"]  # jax gives each task the GPU of its number


@pytest.mark.parametrize(("env", "part"), [({}, "7/32"), ({"PARTS": "64"}, "7/64")])
def test_a_task_of_a_slurm_array_prepares_its_part(bench, env, part):
    bench.stand_in(".venv/bin/ssl-jax")
    array = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "32"}
    assert bench.run("slurm-prepare.sbatch", *RECIPE, **array, **env) == 0
    assert bench.calls("ssl-jax") == [["prepare", *RECIPE, "--part", part]]
    assert parses(bench.calls("ssl-jax")[0]) == "prepare"


GCLOUD = """
case "$*" in
    *queued-resources\\ describe*) cat {folder}/state 2>/dev/null ;;
    *queued-resources\\ create*) echo ACTIVE > {folder}/state ;;
    *queued-resources\\ delete*) rm {folder}/state ;;
    *ssl-jax\\ pretrain*) n=$(( $(cat {folder}/run 2>/dev/null || echo 0) + 1 )); echo $n > {folder}/run
        [ "$(sed -n ${{n}}p {folder}/plan)" != gone ] || {{ echo SUSPENDED > {folder}/state; exit 255; }} ;;
    *sort\\ -u*) sed -n "$(cat {folder}/run)p" {folder}/plan | tr ' ' '\\n' | grep -v gone ;;
esac"""
SLICE = {"ZONE": "z", "TYPE": "v5litepod-16", "VERSION": "v", "SHARE": "10.0.0.2:/share", "POLL_SECONDS": "0"}


@pytest.mark.parametrize(
    ("plan", "status", "slices"),
    [
        (["0"], 0, 1),
        (["75", "0"], 0, 1),  # stopped, and the slice is still there
        (["gone", "0"], 0, 2),  # taken away without a word
        (["2"], 2, 1),
        (["0 2"], 2, 1),
        (["3"], 3, 1),
        (["1"], 1, 1),
    ],
)
def test_a_tpu_slice_is_asked_for_again_until_the_run_has_ended(bench, plan, status, slices):
    (bench.folder / "plan").write_text("\n".join(plan) + "\n")
    bench.stand_in("bin/gcloud", GCLOUD.format(folder=bench.folder))
    bench.stand_in("bin/git")
    assert bench.run("tpu_vm.sh", "bert", *RECIPE, **SLICE) == status
    calls = [" ".join(words) for words in bench.calls("gcloud")]
    created = [call for call in calls if "queued-resources create" in call]
    assert len(created) == slices and "--accelerator-type=v5litepod-16" in created[0]
    assert ("queued-resources delete bert" in calls[-1]) == (status == 0)


def test_the_workers_of_a_tpu_slice_run_our_command(bench):
    (bench.folder / "plan").write_text("0\n")
    bench.stand_in("bin/gcloud", GCLOUD.format(folder=bench.folder))
    bench.stand_in("bin/git")
    bench.run("tpu_vm.sh", "bert", *RECIPE, **SLICE)
    (line,) = re.findall(r"^ *\.venv/bin/ssl-jax (pretrain .*)$", bench.log.read_text(), re.MULTILINE)
    args = parser().parse_args(shlex.split(line))
    assert args.distributed and args.sets == RECIPE[2:] and str(args.workdir) == "/mnt/ssl_jax/runs/bert"


@pytest.mark.parametrize("missing", [name for name in SLICE if name != "POLL_SECONDS"])
def test_a_setting_that_is_missing_is_one_line(bench, missing, capfd):
    assert bench.run("tpu_vm.sh", "bert", *RECIPE, **{**SLICE, missing: ""}) == 2
    assert re.fullmatch(rf".*tpu_vm.sh: set {missing} .*\n", capfd.readouterr().err)


# ---------------------------------------------------------------------------------- image and README


def test_the_image_copies_what_is_there_and_starts_our_command():
    lines = [
        line.split() for line in (LAUNCH / "Dockerfile").read_text().splitlines() if line[:1] not in ("", "#")
    ]
    copied = [word for line in lines if line[0] == "COPY" for word in line[1:-1]]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied and all((ROOT / path).exists() for path in copied) and set(copied) == allowed
    assert ["ENTRYPOINT", '["ssl-jax"]'] in lines  # in brackets no shell stands between it and SIGTERM
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"tpu", "gpu", "beam"} <= set(extras)


def test_the_command_lines_of_the_readme_parse():
    text = (LAUNCH / "README.md").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith("    ")]
    found = [match for line in lines for match in re.findall(r"(?<![\w-])ssl-jax ([a-z]+ [^|;&)\"]*)", line)]
    assert len(found) >= 5
    for words in found:
        parses(shlex.split(words, comments=True))
    for path in set(re.findall(r"launch/[\w.-]+", text)):
        assert (ROOT / path).is_file(), path


def test_variables_are_those_that_the_code_reads():
    for path in LAUNCH.iterdir():
        assert set(re.findall(r"SSL_JAX_[A-Z_]+", path.read_text())) <= READ, path

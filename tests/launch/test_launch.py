# SPDX-License-Identifier: Apache-2.0
"""launch/: scripts pass shellcheck, run against stand-ins for their schedulers, and do what the exit status
asks; YAML has the fields of JobSet; every command line is one of ours."""

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

yaml = pytest.importorskip("yaml", reason="PyYAML isn't installed (extra [dev])")

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


# ---------------------------------------------------------------------------------------------- YAML

ACTIONS = {"FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"}
REASONS = {
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    "FailedIndexes",
    "MaxFailedIndexesExceeded",
    "PodFailurePolicy",
}
# Of a field: a type, an allowed set, a list [of one], or a dict; "name?" may be left out.
POD = {
    "restartPolicy": {"Never"},  # a podFailurePolicy asks for it
    "terminationGracePeriodSeconds?": int,
    "nodeSelector?": {"*": str},
    "containers": [
        {
            "name": str,
            "image": str,
            "args": [str],
            "env": [{"name": str, "value?": str, "valueFrom?": {"fieldRef": {"fieldPath": str}}}],
            "ports?": [{"containerPort": int}],
            "resources": {"limits?": {"*": int}, "requests?": {"*": object}},
            "volumeMounts": [{"name": str, "mountPath": str}],
        }
    ],
    "volumes": [{"name": str, "persistentVolumeClaim": {"claimName": str}}],
}
EXIT_CODES = {"containerName": str, "operator": {"In", "NotIn"}, "values": [int]}
JOBSET = {
    "apiVersion": {"jobset.x-k8s.io/v1alpha2"},
    "kind": {"JobSet"},
    "metadata": {"name": str, "labels": {"*": str}, "annotations?": {"*": str}},
    "spec": {
        "failurePolicy": {
            "maxRestarts": int,
            "restartStrategy?": {"Recreate", "BlockingRecreate"},
            "rules?": [{"name": str, "action": ACTIONS, "onJobFailureReasons": [REASONS]}],
        },
        "replicatedJobs": [
            {
                "name": str,
                "replicas?": int,
                "dependsOn?": [{"name": str, "status": {"Ready", "Complete"}}],
                "template": {
                    "spec": {
                        "completions?": int,
                        "parallelism?": int,
                        "completionMode?": {"Indexed"},
                        "backoffLimit": int,
                        "podFailurePolicy": {"rules": [{"action": {"FailJob"}, "onExitCodes": EXIT_CODES}]},
                        "template": {"spec": POD},
                    }
                },
            }
        ],
    },
}


def check(value, schema, where: str = "") -> None:
    if isinstance(schema, dict):
        assert isinstance(value, dict), f"{where} is no mapping"
        if "*" in schema:
            return [check(inner, schema["*"], f"{where}.{name}") for name, inner in value.items()] and None
        known = {name.rstrip("?") for name in schema}
        assert set(value) <= known, f"{where} has {set(value) - known}"
        for name, inner in schema.items():
            assert name.endswith("?") or name in value, f"{where} lacks {name}"
            if name.rstrip("?") in value:
                check(value[name.rstrip("?")], inner, f"{where}.{name}")
    elif isinstance(schema, list):
        assert isinstance(value, list) and value, f"{where} is no list"
        for i, item in enumerate(value):
            check(item, schema[0], f"{where}[{i}]")
    elif isinstance(schema, set):
        assert value in schema, f"{where} is {value}"
    else:
        assert isinstance(value, schema) and (schema is object or not isinstance(value, bool)), (
            f"{where}: {value}"
        )


def jobsets(name: str) -> list[dict]:
    return list(yaml.safe_load_all((LAUNCH / name).read_text()))


def jobs(jobset: dict) -> list[tuple[str, dict, dict]]:
    """(name, Job's spec, its container) of each replicated job."""
    found = []
    for job in jobset["spec"]["replicatedJobs"]:
        spec = job["template"]["spec"]
        found.append((job["name"], spec, spec["template"]["spec"]["containers"][0]))
    return found


JOBSETS = [*jobsets("gke_jobset.yaml"), *jobsets("gke_prepare.yaml")]


@pytest.mark.parametrize("jobset", JOBSETS, ids=lambda jobset: jobset["metadata"]["name"])
def test_jobsets_have_the_fields_of_jobset_and_kueue(jobset):
    check(jobset, JOBSET)
    assert jobset["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
    for _, spec, container in jobs(jobset):
        assert spec.get("completions") == spec.get("parallelism")
        for rule in spec["podFailurePolicy"]["rules"]:
            assert rule["onExitCodes"]["containerName"] == container["name"]
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in spec["template"]["spec"]["volumes"]}


@pytest.mark.parametrize("jobset", jobsets("gke_jobset.yaml"), ids=lambda jobset: jobset["metadata"]["name"])
def test_a_stopped_jobset_starts_again_and_a_mistake_ends_it(jobset):
    policy = jobset["spec"]["failurePolicy"]
    assert policy["maxRestarts"] > 0  # what no rule names starts again: 75, a lost node
    assert [(r["action"], r["onJobFailureReasons"]) for r in policy["rules"]] == [
        ("FailJobSet", ["PodFailurePolicy"])
    ]
    for _, spec, container in jobs(jobset):
        (rule,) = spec["podFailurePolicy"]["rules"]
        assert (rule["onExitCodes"]["operator"], rule["onExitCodes"]["values"]) == ("In", [2, 3])
        assert spec["backoffLimit"] == 0 and parses(container["args"]) == "pretrain"


def test_the_gpu_jobset_names_its_first_pod_and_counts_its_hosts():
    (jobset,) = [j for j in jobsets("gke_jobset.yaml") if j["metadata"]["labels"]["accelerator"] == "gpu"]
    ((job, spec, container),) = jobs(jobset)
    env = {item["name"]: item.get("value") for item in container["env"]}
    name = jobset["metadata"]["name"]
    host, port = env[distributed.COORDINATOR].split(":")
    assert host == f"{name}-{job}-0-0.{name}"  # <jobset>-<job>-<its number>-<pod>.<subdomain>
    assert {"containerPort": int(port)} in container["ports"]
    assert int(env[distributed.NUM_PROCESSES]) == spec["completions"]
    assert distributed.PROCESS_ID in env


def test_the_parts_come_between_the_tokenizer_and_publishing():
    (jobset,) = jobsets("gke_prepare.yaml")
    commands = [container["args"] for _, _, container in jobs(jobset)]
    assert [parses([w.replace("$(PART)", "0") for w in words]) for words in commands] == [
        "tokenizer",
        *["prepare"] * 2,
    ]
    (_, spec, container) = jobs(jobset)[1]
    assert container["args"][-1] == f"$(PART)/{spec['completions']}"
    assert "PART" in {item["name"] for item in container["env"]}
    after = [job.get("dependsOn") for job in jobset["spec"]["replicatedJobs"]]
    assert after == [None, *([{"name": name, "status": "Complete"}] for name in ("tokenizer", "parts"))]


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

# SPDX-License-Identifier: Apache-2.0
"""launch/*.yaml: the fields of JobSet and Kueue, our command lines, and what an exit status does."""

import pytest

from ssl_jax.parallel import distributed
from tests.launch.test_scripts import LAUNCH, parses

yaml = pytest.importorskip("yaml", reason="PyYAML isn't installed (extra [dev])")

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

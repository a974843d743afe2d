# SPDX-License-Identifier: Apache-2.0
"""A plan is of the program that a run compiles, and its numbers are those of counts by hand."""

import dataclasses
import json
import re
from types import SimpleNamespace

import jax
import pytest

from ssl_jax import config, data, nn, parallel
from ssl_jax.assemble import assemble
from ssl_jax.cli.main import main
from ssl_jax.data import Pairs
from ssl_jax.loop.loop import Epochs, Steps, Tokens
from ssl_jax.objectives import BertPretraining
from ssl_jax.parallel import CHIPS
from ssl_jax.plan import fitting, memory, topology
from ssl_jax.plan.look import View, look
from ssl_jax.plan.plan import plan
from ssl_jax.plan.ready import StandIn, ready
from ssl_jax.plan.roofline import roofline, work_of
from ssl_jax.program import lay_out
from ssl_jax.types import Meta, UserError
from tests.plan import small


def here(num_devices: int) -> topology.Target:
    return topology.of_hosts(jax.devices()[:num_devices])


def planned(experiment, target=None, **kwargs):
    wanted = {"host_devices": None, "price": None, "exported": True, "say": lambda line: None, **kwargs}
    return plan(experiment, target or here(8), **wanted)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """(an experiment, its corpus)"""
    experiment = small.with_corpus(tmp_path_factory.mktemp("plan"), data=2, fsdp=4)
    return experiment, data.prepare(experiment.data, experiment.text)


@pytest.fixture(scope="module")
def view(prepared):
    experiment, corpus = prepared
    return look(experiment, Meta(tokenizer=corpus.tokenizer), here(8), 40)


def instructions(text: str) -> list[str]:
    """Without what they say of source files, whose numbers depend on what was traced before."""
    return [re.sub(r", metadata=\{[^}]*\}", "", line) for line in text.splitlines() if " = " in line]


def test_a_plan_looks_at_the_program_that_a_run_compiles(prepared, view):
    experiment, corpus = prepared
    setup = assemble(experiment, corpus, {}, print)
    assert setup.num_steps == 40
    planned, run = (
        instructions(text) for text in (view.program.lower().compile().as_text(), setup.step.as_text())
    )
    assert len(run) > 1000 and planned == run


def test_what_is_prepared_is_found_and_gives_the_vocabulary(prepared):
    experiment, corpus = prepared
    found = ready(experiment)
    assert found.everything and found.tokenizer.fingerprint == corpus.tokenizer.fingerprint
    assert found.num_steps(experiment) == 40
    missing = ready(small.experiment())
    assert not missing.everything and missing.tokenizer.vocab_size == small.VOCAB
    assert "nowhere" in missing.lines["store"]


@pytest.mark.parametrize(
    ("duration", "steps"),
    [(Steps(7), 7), (Tokens(10 * small.ROWS * small.LENGTH - 1), 10), (Epochs(2.0), None)],
)
def test_the_length_of_a_run_without_a_store(duration, steps):
    experiment = small.experiment()
    experiment = dataclasses.replace(experiment, loop=dataclasses.replace(experiment.loop, duration=duration))
    assert ready(experiment).num_steps(experiment) == steps


def test_the_state_of_a_device_is_a_count_of_its_shards(view):
    """Over fsdp=4 every dimension of 16, 64 and 512 (embed) is cut in four; biases and norms are too, but for
    those of another axis."""
    shapes = jax.tree.leaves(view.program.blueprint.shapes.params)
    shards = jax.tree.leaves(view.program.blueprint.shardings.params)
    by_hand = sum(
        shape.size * 4 // (4 if any("fsdp" in str(axis) for axis in shard.spec) else 1)
        for shape, shard in zip(shapes, shards, strict=True)
    )
    parts = memory.of_state(view.program)
    assert parts["parameters"] == parts["average"] == by_hand
    assert parts["moments"] == pytest.approx(2 * by_hand, rel=0.01)  # Adam's two, and a counter
    per_row = 3 * 4 * small.LENGTH + 4 * small.LENGTH + 4 + 4 + 1  # tokens, targets, segments; weights; ours
    assert parts["batch"] == per_row * small.ROWS // 8
    assert view.memory.total > sum(parts.values()) and view.memory.temporaries > 0
    # Of the temporaries: a gradient of each parameter, twice while micro-batches are summed.
    total = 10 * (2 * by_hand + memory.residual_bytes(view.program))
    of_it = memory.of_temporaries(view.program, total)
    assert of_it["gradients"] == 2 * by_hand and sum(of_it.values()) == total
    assert of_it["activations"] == memory.residual_bytes(view.program) // 8
    assert memory.of_temporaries(view.program, by_hand) == {"gradients": by_hand, "activations": 0, "rest": 0}


def test_our_flops_are_those_of_a_count_by_hand(view):
    t, d, v = small.LENGTH, small.DIM, 512  # the vocabulary with its padding
    layer = 2 * t * (4 * d * d + 2 * 4 * d * d) + 2 * (2 * t * t * d)
    forward = small.LAYERS * layer + 2 * t * d * v
    work = work_of(view)
    assert work.flops == 3 * forward * small.ROWS
    assert work.least == work.executed == work.flops and work.positions == small.ROWS * t
    full = config.apply_sets(small.experiment(), ["model.remat=FULL"])
    again = work_of(look(full, Meta(tokenizer=StandIn(small.VOCAB)), topology.target_of("h100:8"), 40))
    assert again.flops == work.flops
    # FULL computes each layer again, but for the last product of its MLP, which nothing needs.
    assert again.executed - again.flops == small.ROWS * small.LAYERS * (layer - 2 * t * 4 * d * d)


def test_the_bound_is_the_slowest_resource(view):
    chip, work = CHIPS["v5e"], work_of(view)
    bound = roofline(view, work, chip)
    assert bound.seconds["arithmetic"] == work.least / (8 * 197e12)
    inside = sum(sent.bytes for sent in view.compiled.sent)
    assert bound.seconds["links"] == inside / 200e9 and inside > 0
    assert bound.step == max(bound.seconds.values()) == bound.seconds[bound.limit]
    assert bound.mfu == pytest.approx(work.flops / 8 / 197e12 / bound.step)
    assert bound.chip_hours(3600, 8) == 8 * bound.step


def test_gpus_are_planned_by_formula_and_by_the_program_of_as_many_host_devices():
    experiment = small.experiment(fsdp=8)
    found = planned(experiment, topology.target_of("h100:16"))
    assert found.view.memory.estimated and found.view.compiled is None and found.fits
    assert found.bound.unknown and found.target.num_slices == 2
    compiled = planned(experiment, topology.target_of("h200:8"), host_devices=jax.devices()[:8])
    assert compiled.view.compiled.sent and compiled.view.memory.estimated  # by another compiler
    assert "memory" not in compiled.bound.seconds and "links" in compiled.bound.seconds
    with pytest.raises(UserError, match=r"--host-devices 8: h100:16 has 16 devices"):
        planned(experiment, topology.target_of("h100:16"), host_devices=jax.devices()[:8])


@pytest.mark.parametrize(
    ("topology_name", "text"),
    [
        ("v5e", r"it is v5e:16x16 or"),
        ("v5e:0x2", r"it is v5e:16x16 or"),
        ("v5p:16x16", r"v5p has 3 numbers"),
        ("v6e:32x16", r"256 chips at most"),
        ("h100:8x8", r"GPUs are counted, as in h100:64"),
    ],
)
def test_a_topology_that_there_is_not_names_those_that_there_are(topology_name, text):
    with pytest.raises(UserError, match=text):
        topology.target_of(topology_name)


def test_what_transformers_cannot_express_is_refused_unless_no_export_is_wanted():
    experiment = small.experiment()
    odd = dataclasses.replace(experiment, objective=BertPretraining(plan=Pairs(length=small.LENGTH)))
    with pytest.raises(UserError, match=r"objective=BertPretraining on GptConfig.*--no-export"):
        planned(odd, topology.target_of("h100:8"))


def test_a_state_that_is_too_large_alone_is_not_compiled():
    target = dataclasses.replace(here(8), capacity=10_000)
    seen = look(small.experiment(), Meta(tokenizer=StandIn(small.VOCAB)), target, 40)
    assert seen.compiled is None and not seen.memory.fits and seen.memory.temporaries == 0


def test_more_rows_keep_more_and_remat_keeps_less():
    def kept(*sets):
        experiment = config.apply_sets(small.experiment(), sets)
        seen = look(experiment, Meta(tokenizer=StandIn(small.VOCAB)), topology.target_of("h100:8"), 40)
        return memory.residual_bytes(seen.program)

    one, two, full = kept("loop.micro_batch=1"), kept("loop.micro_batch=2"), kept("model.remat=FULL")
    assert full < one < two == pytest.approx(2 * one, rel=0.05)


def test_a_gpu_that_jax_does_not_see_is_said(tmp_path):
    assert parallel.unseen_gpu(tmp_path) is None
    for number in "01":
        (tmp_path / "proc/driver/nvidia/gpus" / number).mkdir(parents=True)
    assert "has 2 NVIDIA GPUs that jax doesn't see" in parallel.unseen_gpu(tmp_path)


RECIPE = """
from tests.plan import small

def config():
    return small.experiment(micro_batch=None)
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    file = tmp_path_factory.mktemp("recipe") / "recipe.py"
    file.write_text(RECIPE)
    return str(file)


def test_the_command_says_what_fits_and_writes_it_as_json(recipe, tmp_path, capsys):
    file = tmp_path / "plan.json"
    words = ["plan", recipe, "--topology", "h100:8", "--price", "2", "--set", "seed=1", "--json", str(file)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "fits on h100:8 (data 8): 40 steps of 32 rows x 16" in out
    assert f"before chips are claimed: ssl-jax prepare {recipe} --set seed=1" in out
    assert "cost at least, at 2 a chip-hour" in out
    tree = json.loads(file.read_text())
    assert tree["fits"] and tree["change"] is None and tree["ready"]["all"] is False
    assert tree["estimate"]["cost"] == 2 * tree["estimate"]["chip_hours"]


def test_what_does_not_fit_is_status_1_with_words_that_do(recipe, tmp_path, capsys):
    file = tmp_path / "plan.json"
    words = ["plan", recipe, "--topology", "h100:8", "--set", f"loop.batch_size={2**24}", "--json", str(file)]
    assert main(words) == 1
    (change,) = json.loads(file.read_text())["change"]
    assert f"the smallest change that does: --set {change}" in capsys.readouterr().out
    assert main([*words, "--set", change]) == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--topology", "h100:12"], "loop.batch_size=32 doesn't divide over the 12 shards"),
        (["--topology", "h100:8", "--set", "mesh.fsdp=3"], "3 does not divide the 8 devices"),
        (["--topology", "h100:8", "--slices", "2"], "--slices is for TPUs"),
        (["--slices", "2"], "--slices is of a --topology"),
        (["--host-devices", "99"], "jax has begun with 8 devices"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(recipe, words, text, capsys):
    assert main(["plan", recipe, *words]) == 2
    assert text in capsys.readouterr().err.splitlines()[-1]


# ------------------------------------------------------------------------------- when it doesn't fit


class Trying:
    """A look without a compiler: a device needs its share of the state, and per_row bytes a row."""

    def __init__(self, capacity: int, state: int, per_row: int):
        self.capacity, self.state, self.per_row = capacity, state, per_row
        self.tried: list[str] = []

    def __call__(self, experiment):
        layout = lay_out(experiment, topology.target_of("h100:8").devices)
        fsdp, rows = layout.mesh.shape["fsdp"], layout.batch_size // layout.accumulation // 8
        keeps = {nn.Remat.NONE: 1.0, nn.Remat.DOTS: 0.5, nn.Remat.FULL: 0.1}[experiment.model.remat]
        self.tried.append(f"{rows} {experiment.model.remat.name} {fsdp}")
        needs = memory.Memory(
            parameters=self.state // fsdp,
            **dict.fromkeys(["moments", "average", "extra", "batch"], 0),
            temporaries=int(rows * self.per_row * keeps),
            capacity=self.capacity,
        )
        return View(SimpleNamespace(layout=layout), needs, None)


@pytest.mark.parametrize(
    ("look_at", "sets"),
    [
        (Trying(1300, state=100, per_row=400), ("loop.micro_batch=2",)),
        (Trying(1850, state=800, per_row=1100), ("model.remat=DOTS", "loop.micro_batch=1")),
        (Trying(1700, state=800, per_row=4000), ("model.remat=FULL", "loop.micro_batch=2")),
        (Trying(1000, state=800, per_row=100), ("mesh.fsdp=2",)),
        (Trying(1000, state=3000, per_row=500), ("mesh.fsdp=8", "loop.micro_batch=1")),
        (Trying(50, state=800, per_row=1), None),
    ],
    ids=lambda value: str(value) if isinstance(value, tuple) else "",
)
def test_the_smallest_change_is_found(look_at, sets):
    """Of 4 rows a shard: first fewer of them, then remat, then sharded parameters."""
    experiment = small.experiment(micro_batch=None)
    first = look_at(experiment)
    assert not first.memory.fits
    change = fitting.smallest_change(experiment, first, look_at, most_fsdp=8)
    if sets is None:
        assert change is None and {tried.split()[-1] for tried in look_at.tried} == {"1", "2", "4", "8"}
        return
    assert change.sets == sets, look_at.tried
    assert change.view.memory.fits
    assert change.experiment == config.apply_sets(experiment, change.sets)


def test_a_mesh_that_does_not_divide_is_passed_over():
    trying = Trying(1000, state=3000, per_row=500)

    def look_at(experiment):
        if experiment.mesh.fsdp == 4:
            raise UserError("embed=18 does not divide by the mesh's fsdp=4")
        return trying(experiment)

    experiment = small.experiment(micro_batch=None)
    change = fitting.smallest_change(experiment, look_at(experiment), look_at, most_fsdp=8)
    assert change.sets == ("mesh.fsdp=8", "loop.micro_batch=1")


@pytest.mark.parametrize(
    ("state", "words", "legal"),
    [
        # 16 GPUs: 16 shards of the rows, or of the parameters; 8 of the recipe are not all.
        (1500, "--topology h100:16 --set mesh.data=1 --set mesh.fsdp=-1", 2),
        # 32: a row each, where the recipe's two at a time are too many.
        (3000, "--topology h100:32 --set mesh.data=1 --set mesh.fsdp=-1 --set loop.micro_batch=1", 4),
        (9000, None, 4),  # 64: more than there are rows
    ],
)
def test_a_larger_topology_is_found_where_the_recipe_fixes_its_mesh(state, words, legal):
    tried = []

    def look_at(experiment, where):
        layout = lay_out(experiment, where.devices)
        tried.append(layout.axes)
        parts = dict.fromkeys(["moments", "average", "extra", "batch", "temporaries"], 0)
        needs = memory.Memory(parameters=state // layout.mesh.shape["fsdp"], capacity=100, **parts)
        return View(SimpleNamespace(layout=layout), needs, None)

    found = fitting.larger_topology(
        small.experiment(micro_batch=2, data=8), topology.target_of("h100:8"), look_at, 1
    )
    assert found == words and len(tried) == legal, tried


@pytest.mark.parametrize(
    ("message", "needed", "limit"),
    [
        (
            "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory "
            "required for HLO temporaries (62.50G) exceeds available HBM (15.75G). HLO module: jit_step.",
            62.5,
            15.75,
        ),
        (
            "Ran out of memory in memory space hbm. Used 20.00G of 15.75G hbm. Exceeded hbm capacity",
            20,
            15.75,
        ),
    ],
)
def test_the_compilers_refusal_is_read_into_numbers(view, message, needed, limit):
    found = memory.of_refusal(view.program, message)
    assert found.total == needed * 2**30
    assert found.capacity == limit * 2**30 and not found.fits
    assert memory.of_refusal(view.program, "INTERNAL: something else") is None

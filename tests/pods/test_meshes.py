# SPDX-License-Identifier: Apache-2.0
"""One run on many meshes: the losses of one device, the same rows, checkpoints that move between meshes."""

import dataclasses
import logging
import shutil

import jax
import numpy as np
import pytest

from ssl_jax import nn, parallel, run
from ssl_jax.cli.console import Console
from ssl_jax.config import load_recipe
from ssl_jax.loop.kept import saved_steps
from ssl_jax.loop.loop import Steps
from ssl_jax.optim import Constant
from ssl_jax.workdir import Workdir
from tests.end_to_end.runs import curve, make_place

FAST = dict(data=2, fsdp=2, tensor=2)
SLOW = [dict(data=8), dict(data=1, fsdp=4, tensor=2)]
# Half a row, or a quarter of one, on a device: keys gathered, and norms on parts of it; or keys sent around.
SEQUENCE = parallel.Rules(norm_length=("context", "tensor"))
SPLIT = [
    (dict(data=2, tensor=2, context=2, rules=SEQUENCE), nn.Kernel.XLA),
    (dict(data=1, fsdp=2, context=4), nn.Kernel.RING),
]
MESHES = [FAST, *(pytest.param(mesh, marks=pytest.mark.slow) for mesh in SLOW)]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, request):
    """The tiny recipe under DESIGN's conditions for equal losses: float32, dropout 0, warm-up, 5e-4."""
    compiled = request.config.cache.mkdir("compiled")
    place = make_place(tmp_path_factory.mktemp("meshes"), compiled)
    experiment, _, _ = load_recipe(str(place.recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_JAX_CACHE", place.env["SSL_JAX_CACHE"])
        with compiled_programs_kept(compiled):
            yield dataclasses.replace(
                experiment,
                model=dataclasses.replace(experiment.model, dropout=0.0, attention_dropout=0.0),
                optim=dataclasses.replace(experiment.optim, peak_lr=5e-4, schedule=Constant(warmup=4)),
                loop=dataclasses.replace(experiment.loop, duration=Steps(6), micro_batch=None),
                evals=dataclasses.replace(experiment.evals, every=None),
                checkpoint=dataclasses.replace(experiment.checkpoint, every=3),
            )


class compiled_programs_kept:
    """jax's cache of compiled programs in this folder, for this process and this while."""

    def __init__(self, folder):
        self.new = {
            "jax_compilation_cache_dir": str(folder),
            "jax_persistent_cache_min_compile_time_secs": 0.0,
            "jax_persistent_cache_min_entry_size_bytes": -1,
        }

    def __enter__(self):
        self.old = {name: getattr(jax.config, name) for name in self.new}
        for name, value in self.new.items():
            jax.config.update(name, value)

    def __exit__(self, *_):
        for name, value in self.old.items():
            jax.config.update(name, value)


def go(recipe, workdir, mesh, steps=6):
    loop = dataclasses.replace(recipe.loop, duration=Steps(steps))
    experiment = dataclasses.replace(recipe, mesh=mesh, loop=loop)
    assert run.main(experiment, workdir, console=Console()) == 0
    return curve(workdir)


@pytest.fixture(scope="module")
def single(recipe, tmp_path_factory):
    """Twelve steps on one device."""
    first, make = jax.devices()[:1], parallel.MeshConfig.make
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel.MeshConfig, "make", lambda self, devices: make(self, first))
        return go(recipe, tmp_path_factory.mktemp("single") / "run", parallel.MeshConfig(), 12)


def assert_follows(ours, theirs):
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for one, two in zip(ours[1:], theirs[1:]):
        assert (one["rows"], one["hash"], one["lr"]) == (two["rows"], two["hash"], two["lr"])
        for name in ("loss", "mlm", "nsp"):
            np.testing.assert_allclose(one[name], two[name], rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("mesh", MESHES, ids=str)
def test_a_run_on_eight_devices_follows_one_device_and_moves_to_another_mesh(recipe, single, tmp_path, mesh):
    """Six steps here, six more on a mesh of another shape: the rows and losses of one device throughout."""
    ours = go(recipe, tmp_path / "run", parallel.MeshConfig(**mesh))
    assert_follows(ours, single[:7])
    other = dict(data=4, fsdp=2) if mesh == FAST else FAST
    moved = go(recipe, tmp_path / "run", parallel.MeshConfig(**other), 12)
    assert saved_steps(tmp_path / "run" / "checkpoints") == [9, 12]
    assert_follows(moved, single)


@pytest.mark.slow
def test_a_vocabulary_padded_for_one_tensor_axis_goes_on_with_another(recipe, tmp_path):
    """300 pieces are padded to 384 for one shard and would be to 512 for two: a resumed run and a branch keep
    what birth chose, and follow the run that stayed where it was."""
    tokenizer = dataclasses.replace(recipe.text.tokenizer, vocab_size=300)
    small = dataclasses.replace(recipe, text=dataclasses.replace(recipe.text, tokenizer=tokenizer))
    born, moved, branched = (tmp_path / name for name in ("born", "moved", "branched"))
    go(small, born, parallel.MeshConfig(data=8), 3)
    shutil.copytree(born, moved)
    there = parallel.MeshConfig(**FAST)
    branch = dataclasses.replace(small, mesh=there)
    assert run.main(branch, branched, console=Console(), branch=f"{born}@3") == 0
    stayed = go(small, born, parallel.MeshConfig(data=8))
    assert_follows(go(small, moved, there), stayed)
    assert_follows([stayed[3], *curve(branched)], stayed[3:])
    assert {Workdir(place).resolved()["vocab_shards"] for place in (born, moved, branched)} == {1}


@pytest.mark.slow
@pytest.mark.parametrize(("mesh", "kernel"), SPLIT, ids=["gathered", "ring"])
def test_a_run_whose_rows_lie_on_several_devices_follows_one_device(recipe, single, tmp_path, mesh, kernel):
    """Half of the run on whole rows, and evaluated."""
    split = dataclasses.replace(
        recipe,
        model=dataclasses.replace(recipe.model, kernel=kernel),
        evals=dataclasses.replace(recipe.evals, every=6),
    )
    assert_follows(go(split, tmp_path / "run", parallel.MeshConfig(**mesh)), single[:7])
    moved = go(recipe, tmp_path / "run", parallel.MeshConfig(**FAST), 12)
    assert_follows(moved, single)


def test_the_step_compiles_once(recipe, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "jax"), jax.log_compiles():
        go(recipe, tmp_path / "run", parallel.MeshConfig(data=4, fsdp=2))
    compiled = [r.getMessage() for r in caplog.records if "Finished XLA compilation" in r.getMessage()]
    assert len([text for text in compiled if "jit(step)" in text]) == 1
    assert len([text for text in compiled if "jit(evaluate)" in text]) == 1

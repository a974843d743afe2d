# SPDX-License-Identifier: Apache-2.0
"""What `transformers` does with an exported directory: its auto classes and pipelines, and training on."""

import pytest

from tests.hf import rooms
from tests.hf.cases import exported, flat
from tests.parity.curve import Run, batches
from tests.parity.opened import opened
from tests.parity.torch_curve import LOSSES

pytestmark = pytest.mark.parity
TEXT = "Kalo mi ternesun."


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """directory(name): a network of rooms.NETWORKS as transformers has it, made once."""
    folder, made = tmp_path_factory.mktemp("hub"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_JAX_CACHE", str(folder / "cache"))
        tokenizer = rooms.tokenizer(folder / "tokenizer")

        def make(name):
            if name not in made:
                made[name] = rooms.directory(name, tokenizer, folder / name)
            return made[name]

        yield make


@pytest.mark.parametrize(
    ("name", "task", "given"),
    [
        ("masked", "fill-mask", "Kalo [MASK] mi."),
        ("gpt2", "text-generation", TEXT),
        ("classes", "text-classification", TEXT),
        ("tags", "token-classification", TEXT),
        ("gpt2_trunk", "feature-extraction", TEXT),
    ],
)
def test_pipelines_load_the_directory(directory, name, task, given):
    import transformers

    out = directory(name)
    auto = {
        "fill-mask": transformers.AutoModelForMaskedLM,
        "text-generation": transformers.AutoModelForCausalLM,
        "text-classification": transformers.AutoModelForSequenceClassification,
        "token-classification": transformers.AutoModelForTokenClassification,
        "feature-extraction": transformers.AutoModel,
    }[task]
    _, info = auto.from_pretrained(out, output_loading_info=True)
    assert not any(info.values()), info
    options = {"max_new_tokens": 3} if task == "text-generation" else {}
    result = transformers.pipeline(task, model=str(out))(given, **options)
    assert len(result) > 0
    if task == "text-classification":
        assert result[0]["label"] in rooms.CLASSES
    if task == "token-classification":
        assert {word["entity"] for word in result} <= set(rooms.CLASSES)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_training_goes_on_there_from_the_loss_that_we_report(name, tmp_path):
    """The loss before agrees to 1e-4, and one step of an optimizer lowers it.  Dropout is 0 in both."""
    import torch

    run = Run(name, quick=True)
    model = opened(exported(run.curve.family, tmp_path / "out", flat(run.params()))).train()
    batch = next(batches(run.curve))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    before, _ = LOSSES[name](model, batch)
    assert before.item() == pytest.approx(float(run.losses(1)["loss"][0]), abs=1e-4)
    before.backward()
    optimizer.step()
    assert LOSSES[name](model, batch)[0].item() < before.item()

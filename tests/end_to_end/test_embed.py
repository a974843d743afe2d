# SPDX-License-Identifier: Apache-2.0
"""`embed` of a workdir that a run left."""

import numpy as np

from ssl_jax import weights
from ssl_jax.cli.main import main
from ssl_jax.use.embed import cosines


def test_a_word_of_a_trained_model_in_two_sentences(whole, tmp_path, capsys):
    file = tmp_path / "found.npz"
    texts = ["--text", "a list of names", "--text", "names that the list holds"]
    assert main(["embed", str(whole), *texts, "--word", "list", "--out", str(file)]) == 0
    found = np.load(file, allow_pickle=False)
    assert found["words"].tolist() == ["list"] * 2 and found["starts"].tolist() == [2, 15]
    assert cosines(found["static"])[0, 1] > 0.9999 > cosines(found["vectors"])[0, 1]
    assert found["vectors"].shape[1] == weights.load(str(whole)).model.trunk.spec.dim

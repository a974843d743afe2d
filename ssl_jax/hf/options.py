# SPDX-License-Identifier: Apache-2.0
"""A `config.json` of `transformers` while it is read: all that is missing or foreign is told at once."""

from typing import Any

from ssl_jax import nn
from ssl_jax.types import Specials, UserError

Json = dict[str, Any]
ACTIVATIONS = {
    "gelu": nn.Activation.GELU,
    "gelu_new": nn.Activation.GELU_TANH,
    "gelu_pytorch_tanh": nn.Activation.GELU_TANH,
    "silu": nn.Activation.SILU,
    "relu": nn.Activation.RELU,
}
NAMES = {activation: name for name, activation in reversed(ACTIVATIONS.items())}


class Options:
    """A config.json being read: what it lacks, and what it asks for that ours cannot do, is kept and told
    all at once by `done`."""

    def __init__(self, values: Json):
        self.values = values
        self._missing: list[str] = []
        self._features: list[str] = []

    def __call__(self, name: str) -> Any:
        """A size that must be there; 1 where it isn't, until `done` says so."""
        if self.values.get(name) is None:
            self._missing.append(name)
            return 1
        return self.values[name]

    def get(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        return default if value is None else value

    def only(self, **expected: Any) -> None:
        """Ours computes as if each option had this value: another one is refused, an absent one is fine."""
        for name, value in expected.items():
            if self.get(name, value) != value:
                self.refuse(f"{name}={self.values[name]!r}")

    def same(self, default: float, *names: str) -> float:
        """One number under several names."""
        numbers = {name: self.get(name, default) for name in names}
        if len(set(numbers.values())) > 1:
            self.refuse(", ".join(f"{name}={value}" for name, value in numbers.items()) + " that differ")
        return float(numbers[names[0]])

    def choice(self, name: str, default: str) -> nn.Activation:
        value = self.get(name, default)
        if value not in ACTIVATIONS:
            self.refuse(f"{name}={value!r}")
        return ACTIVATIONS.get(value, nn.Activation.GELU)

    def refuse(self, feature: str) -> None:
        self._features.append(feature)

    def done(self) -> None:
        if self._missing:
            raise UserError(f"config.json lacks {', '.join(self._missing)}")
        if self._features:
            raise UserError(f"config.json asks for what ssl_jax cannot express: {'; '.join(self._features)}")


def ends(specials: Specials) -> Json:
    return {"pad_token_id": specials.pad, "bos_token_id": specials.bos, "eos_token_id": specials.eos}

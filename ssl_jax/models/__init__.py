# SPDX-License-Identifier: Apache-2.0
"""Models: one file a family, which says what the trunk is made of."""

from ssl_jax.models.base import TextConfig
from ssl_jax.models.bert import BertConfig
from ssl_jax.models.gpt import GptConfig
from ssl_jax.models.modern import ModernConfig

__all__ = ["BertConfig", "GptConfig", "ModernConfig", "TextConfig"]

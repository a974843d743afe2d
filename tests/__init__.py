# SPDX-License-Identifier: Apache-2.0
"""A package: tests share helpers as tests.folder.module, and no other package of this name hides them."""

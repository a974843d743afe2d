# SPDX-License-Identifier: Apache-2.0
"""Whether a run fits, what it sends and what it costs, before anything is booked."""

# SPDX-License-Identifier: Apache-2.0
"""``[[collect]]``: what of each signal is kept, how often, with which priority."""

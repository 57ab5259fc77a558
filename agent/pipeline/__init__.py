# SPDX-License-Identifier: Apache-2.0
"""The way of the data on its tick: frames drained, decoded, collected, packed into batches and stored."""

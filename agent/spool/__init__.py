# SPDX-License-Identifier: Apache-2.0
"""Sealed batches on disk until the cloud has them, and a journal of the batch that is still open.

`store.Spool` and `journal.Journal` are what other rooms use. Both handle opaque bytes and a sequence number.
"""

# SPDX-License-Identifier: Apache-2.0
"""Databases (DBC, KCD, SYM, ARXML) to definitions, definitions to flat tables, blocks of frames to raw values.

loading.py    the files, tolerantly: what is wrong is reported by file and line, and the rest loads
plan.py       the definitions compiled: id to group, group to fields, multiplexors and short frames to shapes
decoder.py    a whole block at once, in a handful of numpy operations
"""

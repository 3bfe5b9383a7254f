"""Every dataset of the catalogue by name."""

from bench.catalog.entry import Entry
from bench.catalog.folders import FOLDER, FOLDERS
from bench.catalog.imagenet1k import IMAGENET1K
from bench.catalog.isaid import ISAID
from bench.catalog.mfnet import MFNET
from bench.catalog.potsdam import POTSDAM
from bench.catalog.pst900 import PST900

CATALOG: dict[str, Entry] = {entry.name: entry for entry in (IMAGENET1K, ISAID, MFNET, PST900, POTSDAM)}
OWN_DATA: dict[str, Entry] = {entry.name: entry for entry in (FOLDER, FOLDERS)}
"""Kinds of data of a user's own: described for readers, checked by their own descriptions."""

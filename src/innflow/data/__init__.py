"""Data modules that yield batches keyed by part names; imported when they are first used."""

from innflow.system.importing import lazy_exports

_HOMES = {
    "Embeddings": "innflow.data.feature.embeddings",
    "Digits": "innflow.data.image.digits",
    "Images": "innflow.data.image.images",
    "SimCats": "innflow.data.image.simcats",
    "SimShapes": "innflow.data.image.simcats",
    "cats": "innflow.data.image.simcats",
    "Shards": "innflow.data.image.shards",
    "write_shards": "innflow.data.image.tar",
    "Vision": "innflow.data.image.vision",
    "Simulator": "innflow.data.simulation.simulator",
    "Pairs": "innflow.data.table.pairs",
    "Table": "innflow.data.table.table",
    "Toy": "innflow.data.toy.clouds",
    "EightModes": "innflow.data.toy.modes",
}
__all__ = list(_HOMES)
__getattr__ = lazy_exports(__name__, _HOMES)

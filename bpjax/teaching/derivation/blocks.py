"""A network as blocks: a dense layer with its activation, or one layer whose equations are not expanded."""

from typing import Any, NamedTuple

from bpjax.layers.layer import Kind, Layer, placed_layers

SOFTMAX = "softmax"


class Block(NamedTuple):
    """One layer of the derivation."""

    number: int  # from 1 at the input
    layer: Layer  # the dense layer, or the layer that is not expanded
    activation: Layer | None  # of a dense layer
    places: tuple[int, ...]  # of these layers among all layers of the chain, in forward order

    @property
    def is_dense(self) -> bool:
        """Whether its equations are those of the article: a weighted sum, and an activation."""
        return is_dense(self.layer)

    @property
    def is_softmax(self) -> bool:
        """Whether its activation is a softmax."""
        return self.activation is not None and self.activation.name == SOFTMAX

    @property
    def use_bias(self) -> bool:
        """Whether a dense layer has a bias."""
        return "use_bias=False" not in (self.layer.arguments or "")

    @property
    def units(self) -> int:
        """Of a dense layer."""
        return int((self.layer.arguments or "0").split(",")[0])

    def __str__(self) -> str:
        return repr(self.layer) if self.activation is None else f"{self.layer!r}, {self.activation!r}"


def is_dense(layer: Layer) -> bool:
    """Whether a layer is `bp.dense`."""
    return layer.name == "dense" and layer.kind is Kind.AFFINE


def is_elementwise(layer: Layer) -> bool:
    """Whether a layer is an elementwise activation."""
    return layer.kind is Kind.ACTIVATION


def blocks_of(network: Layer) -> tuple[Block, ...]:
    """The blocks of a network in forward order."""
    layers = [placed.layer for placed in placed_layers(network, _skeleton(network))]
    blocks, place = [], 0
    while place < len(layers):
        layer, after = layers[place], layers[place + 1] if place + 1 < len(layers) else None
        takes = is_dense(layer) and after is not None and (is_elementwise(after) or after.name == SOFTMAX)
        places = (place, place + 1) if takes else (place,)
        blocks.append(Block(len(blocks) + 1, layer, after if takes else None, places))
        place += len(places)
    return tuple(blocks)


def _skeleton(network: Layer) -> Any:
    """Params without arrays, in the structure of the chain."""
    return tuple(map(_skeleton, network.layers)) if network.kind is Kind.CHAIN else ()

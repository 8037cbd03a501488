"""The computations that every backend runs, as modules that take and give flat tensors.

The torch backend calls them; export traces the very same modules. Two parts, states and then
decoding, are the contract, because states can be cached; one event from the chain is the third.

Shapes: B samples, E entities, L events, S slots, Q sequence positions, C categories, D d_model,
V the sum of all category sizes.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from eventmodel.batch import MemoryBatch, SequenceBatch, StreamBatch
from eventmodel.heads import CHAIN
from eventmodel.layers import KeyValue
from eventmodel.model import EventModel
from eventmodel.predictor import KVCache

ENCODE_INPUTS = ("ids", "gap", "weekday", "length")
ENCODE_OUTPUTS = ("states",)
DECODE_INPUTS = (
    "states", "place", "vocabulary_id", "memory_gap", "ids", "gap", "weekday", "is_token", "now_hour"
)  # fmt: skip
CHAIN_INPUTS = ("hidden", "keys", "is_source", "source_ids", "noise", "allowed", "forced")
NUCLEUS_INPUTS = (*CHAIN_INPUTS, "temperature", "top_p")
CHAIN_OUTPUTS = ("chosen", "log_prob")


def _of_blocks(name: str, blocks: int) -> tuple[str, ...]:
    return tuple(f"{name}_{part}_{block}" for block in range(blocks) for part in ("key", "value"))


def decode_outputs(blocks: int) -> tuple[str, ...]:
    """Names, given the number of the decoder's blocks."""
    return ("log_probs", "hidden", "keys", *_of_blocks("past", blocks), *_of_blocks("memory", blocks))


def step_inputs(blocks: int) -> tuple[str, ...]:
    """Names, given the number of the decoder's blocks."""
    own = ("ids", "gap", "weekday", "position", "is_token", "is_filled", "keys", "source_ids")
    return (*own, *_of_blocks("past", blocks), *_of_blocks("memory", blocks))


def step_outputs(blocks: int) -> tuple[str, ...]:
    """Names, given the number of the decoder's blocks."""
    return ("log_probs", "hidden", "key", *_of_blocks("added", blocks))


class EncodeGraph(nn.Module):
    """Histories of one stream kind to states: (E, L, C), (E, L), (E, L), (E,) to (E, D)."""

    def __init__(self, model: EventModel, stream: str) -> None:
        super().__init__()
        self.model, self.stream = model, stream

    def forward(self, ids: Tensor, gap: Tensor, weekday: Tensor, length: Tensor) -> Tensor:
        return self.model.encode(self.stream, StreamBatch(ids, gap, weekday, length))


class DecodeGraph(nn.Module):
    """States and the decoder's sequence to the marginals of the event after the last position."""

    def __init__(self, model: EventModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        states: Tensor,  # (E, D)
        place: Tensor,  # (B, S)
        vocabulary_id: Tensor,  # (B, S)
        memory_gap: Tensor,  # (B, S)
        ids: Tensor,  # (B, Q, C)
        gap: Tensor,  # (B, Q)
        weekday: Tensor,  # (B, Q)
        is_token: Tensor,  # (B, Q)
        now_hour: Tensor,  # (B,)
    ) -> tuple[Tensor, ...]:
        """log-probabilities (B, V), hidden (B, D), keys (B, Q, D); per block what later steps need.

        The last are keys and values (B, H, Q, d) of the sequence, then (B, H, 1 + S, d) of the memory.
        """
        decoded = self.model.decode(
            states,
            MemoryBatch(place, vocabulary_id, memory_gap),
            SequenceBatch(ids, gap, weekday, is_token, now_hour),
        )
        hidden = decoded.hidden[:, -1:]
        log_probs = _marginals(self.model, hidden, decoded.keys, decoded.is_source[:, -1:], ids)
        cache = (tensor for block in (*decoded.cache.past, *decoded.cache.memory) for tensor in block)
        return (log_probs, hidden[:, 0], decoded.keys, *cache)


class StepGraph(nn.Module):
    """One generated event more to the marginals of the event after it; the rest is not read again."""

    def __init__(self, model: EventModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        ids: Tensor,  # (B, 1, C)
        gap: Tensor,  # (B, 1)
        weekday: Tensor,  # (B, 1)
        position: Tensor,  # (1,)
        is_token: Tensor,  # (B, Q): of the positions before; False = padding, or room for later ones
        is_filled: Tensor,  # (B, 1 + S)
        keys: Tensor,  # (B, Q, D)
        source_ids: Tensor,  # (B, Q, C)
        *cache: Tensor,  # what DecodeGraph gives, with what each step since then has added
    ) -> tuple[Tensor, ...]:
        """log-probabilities (B, V), hidden (B, D), key (B, 1, D); per block key and value (B, H, 1, d) to add."""
        blocks = [KeyValue(key, value) for key, value in zip(cache[::2], cache[1::2], strict=True)]
        n = len(blocks) // 2
        past = KVCache(tuple(blocks[:n]), tuple(blocks[n:]))
        hidden, key, added = self.model.step(ids, gap, weekday, position, past, is_token, is_filled)
        is_event = is_token & (torch.arange(is_token.shape[1], device=ids.device) != self.model.config.focus_events)
        is_source = torch.cat((is_event, torch.ones_like(is_event[:, :1])), 1)[:, None]
        log_probs = _marginals(
            self.model, hidden, torch.cat((keys, key), 1), is_source, torch.cat((source_ids, ids), 1)
        )
        return (log_probs, hidden[:, 0], key, *(tensor for block in added for tensor in block))


def _marginals(model: EventModel, hidden: Tensor, keys: Tensor, is_source: Tensor, source_ids: Tensor) -> Tensor:
    """Calibrated log-probabilities (B, V) of one position: hidden (B, 1, D), keys (B, Q, D), is_source (B, 1, Q)."""
    heads = model.heads
    no_context = hidden.new_zeros(hidden.shape[0], 1, len(model.sizes), hidden.shape[2])
    output = heads(hidden, no_context, keys, is_source)
    return heads.calibrate_marginals(heads.all_log_probs(output, source_ids)[:, 0])


class ChainGraph(nn.Module):
    """One event from the chain: the heads unrolled in the schema's order.

    Each category is the allowed id with the largest log-probability plus noise: noise of 0 is
    greedy, Gumbel noise samples, at the temperature that it is multiplied with; a forced id is
    taken whatever its probability.
    """

    def __init__(self, model: EventModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        hidden: Tensor,  # (B, D)
        keys: Tensor,  # (B, Q, D)
        is_source: Tensor,  # (B, Q)
        source_ids: Tensor,  # (B, Q, C)
        noise: Tensor,  # (B, V)
        allowed: Tensor,  # (B, V) bool
        forced: Tensor,  # (B, C); -1 = choose
    ) -> tuple[Tensor, Tensor]:
        """Ids (B, C) and, given the categories before, their log-probabilities (B, C)."""
        return self._unroll(hidden, keys, is_source, source_ids, noise, allowed, forced)

    def _unroll(
        self,
        hidden: Tensor,
        keys: Tensor,
        is_source: Tensor,
        source_ids: Tensor,
        noise: Tensor,
        allowed: Tensor,
        forced: Tensor,
        restrict: Callable[[Tensor], Tensor] = lambda log_probs: log_probs,
    ) -> tuple[Tensor, Tensor]:
        """``restrict`` takes probability from some ids (B, V_c) before one is chosen."""
        heads, events = self.model.heads, self.model.events
        pointer, table = heads.pointer(keys, is_source[:, None]), events.embeddings()
        by_category, forced = source_ids.long().unbind(-1), forced.long()
        sources = {
            group: torch.stack([by_category[of] for of in group], -1).flatten(1) for group in set(heads.siblings)
        }
        sizes = self.model.sizes
        context = torch.zeros_like(hidden)
        of_category = zip(
            heads.shared(hidden).unbind(1),
            heads.outputs(),
            allowed.split(sizes, -1),
            noise.split(sizes, -1),
            forced.split(1, -1),
            (forced >= 0).split(1, -1),
            strict=True,
        )
        chosen, log_probs = [], []
        for c, (shared, output, allowed_ids, noise_of_ids, given, is_given) in enumerate(of_category):
            features = heads.features(hidden, shared, context)
            raw = heads.category_log_probs(features, c, output, pointer, sources[heads.siblings[c]])
            all_ids = heads.calibrate(raw, c, CHAIN, allowed_ids)
            id_ = torch.where(is_given, given, (restrict(all_ids) + noise_of_ids).argmax(-1, keepdim=True))
            chosen.append(id_)
            log_probs.append(all_ids.gather(-1, id_))
            context = context + events.embed_category(id_[:, 0], c, table)
        return torch.cat(chosen, -1), torch.cat(log_probs, -1)


class NucleusGraph(ChainGraph):
    """One event from the chain, of each category's nucleus: the most probable ids that reach top_p together.

    A graph of its own, because it sorts: with a vocabulary of thousands that takes longer than the chain.
    (Holtzman et al. 2020, arXiv 1904.09751)
    """

    def forward(  # type: ignore[override]
        self,
        hidden: Tensor,
        keys: Tensor,
        is_source: Tensor,
        source_ids: Tensor,
        noise: Tensor,
        allowed: Tensor,
        forced: Tensor,
        temperature: Tensor,  # (B,): at which the nucleus is taken
        top_p: Tensor,  # (B,)
    ) -> tuple[Tensor, Tensor]:
        """Ids (B, C) and their log-probabilities in the whole chain, at no temperature (B, C)."""

        def restrict(log_probs: Tensor) -> Tensor:
            p = (log_probs / temperature[:, None]).softmax(-1)
            ordered = p.sort(-1, descending=True).values
            before = ordered.cumsum(-1) - ordered
            # the least probability that is still needed; equals of it are in as well
            least = torch.where(before < top_p[:, None], ordered, 2.0).amin(-1, keepdim=True)
            return torch.where(p >= least, log_probs, -torch.inf)

        return self._unroll(hidden, keys, is_source, source_ids, noise, allowed, forced, restrict)


def graphs_of(model: EventModel) -> dict[str, nn.Module]:
    """All graphs of a model by name, as backends and bundles know them."""
    graphs: dict[str, nn.Module] = {f"encode_{name}": EncodeGraph(model, name) for name in model.schema.stream_by_name}
    graphs |= {
        "decode": DecodeGraph(model),
        "step": StepGraph(model),
        "chain": ChainGraph(model),
        "nucleus": NucleusGraph(model),
    }
    return {name: graph.eval() for name, graph in graphs.items()}

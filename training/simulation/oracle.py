"""The floor: the true negative log-likelihood of each event, given its person's past.

Exact, by enumeration. An event is as usual, or disturbed in one of four ways, each with a known
probability (``anomalies``). What may happen and when is a table of moments; the other fields are
independent of the moment, given the type of event and whether the shift is on a weekend. So

    P(first k categories) = sum over the ways of  P(way) *
                            sum over moments of  P(moment) [its categories fit] P(its fields fit)

and the chain's factors are the quotients of these, in the schema's order of categories.

Shapes: B people, K moments, A alternatives, C categories.
"""

from typing import NamedTuple

import numpy as np

from training.simulation.anomalies import COST, HOURS_LATER, JOB, KINDS, LOCATION
from training.simulation.history import PUNCH_OUT, State
from training.simulation.ids import CATEGORIES, DATETIME_IDS, Values, Vocabularies, hours_id, minute_id
from training.simulation.next_event import TYPES, Attributes, Moments, attributes, moments
from training.simulation.population import Population

CHUNK = 512
N_FIELDS = 8
"""The first categories: type, people, place, account, job, timesheet. The others go by the moment."""
AS_USUAL = 0


class Likelihood(NamedTuple):
    """Nats per event and category."""

    chain: np.ndarray  # (n, C): given the event's earlier categories; the sum is the joint one
    marginal: np.ndarray  # (n, C): each category on its own


class World(NamedTuple):
    """What the probabilities go by, beside a person's past."""

    people: Population
    vocabularies: Vocabularies
    anomaly_rate: float

    @property
    def disturbed(self) -> float:
        """The probability of each kind of anomaly."""
        return self.anomaly_rate / len(KINDS)


def score(world: World, state: State, employee: np.ndarray, ids: np.ndarray) -> Likelihood:
    """Negative log-likelihoods of observed next events.

    Args:
        state: of n people.
        employee: (n,) who they are.
        ids: (n, C) what happened next; what cannot happen is infinite, and not a number from there on.
    """
    result = Likelihood(np.empty(ids.shape), np.empty(ids.shape))
    for phase in TYPES:
        of_phase = np.flatnonzero(state.phase == phase)
        for start in range(0, len(of_phase), CHUNK):
            rows = of_phase[start : start + CHUNK]
            part = _score_phase(world, phase, state.take(rows), employee[rows], ids[rows])
            for whole, column in zip(result, part, strict=True):
                whole[rows] = column
    return result


def _score_phase(world: World, phase: int, state: State, employee: np.ndarray, ids: np.ndarray) -> Likelihood:
    found = moments(phase, state, world.people, employee)
    marginal, prefix = np.zeros((2, *ids.shape))
    for type_ in TYPES[phase]:
        columns = np.flatnonzero(found.type == type_)
        of_type = Moments(found.type[columns], *(column[:, columns] for column in found[1:]))
        rest = attributes(type_, state, world.people, employee)
        weekend = (of_type.weight * of_type.is_weekend).sum(1)
        mass = np.stack((of_type.weight.sum(1) - weekend, weekend), 1)  # (B, 2)
        marginal[:, 0] += mass.sum(1) * (ids[:, 0] == type_)
        marginal[:, 1:N_FIELDS] += (mass[..., None] * field_marginals(world, rest, ids)).sum(1)
        fits = Fits.of(of_type, ids)
        marginal[:, N_FIELDS:] += moment_marginals(world, of_type.weight, fits)

        rows = np.flatnonzero(ids[:, 0] == type_)
        if len(rows):
            of_type = Moments(of_type.type, *(column[rows] for column in of_type[1:]))
            rest = Attributes(*(column[rows] for column in rest))
            prefix[rows] = event_prefixes(world, of_type, rest, mass[rows], ids[rows], fits.take(rows))
    with np.errstate(divide="ignore", invalid="ignore"):
        chain, alone = -np.diff(np.log(prefix), axis=1, prepend=0.0), -np.log(marginal)
    # rounding leaves a certain category a little off 0
    return Likelihood(np.maximum(chain, 0.0), np.maximum(alone, 0.0))


def event_prefixes(
    world: World, found: Moments, rest: Attributes, mass: np.ndarray, ids: np.ndarray, fits: "Fits"
) -> np.ndarray:
    """(B, C): the probability of an event's first 1, 2, ... C categories.

    Args:
        found: the moments of the type that happened.
        rest: the other fields, given that type.
        mass: (B, 2) the moments' probability, on workdays and on weekends.
        fits: which of the moments fit.
    """
    usual = field_prefixes(world, rest, ids, AS_USUAL)  # (B, 2, N_FIELDS)
    other_value = sum(field_prefixes(world, rest, ids, kind) for kind in (LOCATION, COST, JOB))
    on_time = (1 - world.anomaly_rate) * usual + world.disturbed * other_value
    later = world.disturbed * usual

    result = np.empty(ids.shape)
    result[:, :N_FIELDS] = (mass[..., None] * (on_time + later)).sum(1)
    of_day = found.is_weekend.astype(np.int64)
    here = np.arange(len(ids))[:, None]
    result[:, N_FIELDS:] = _moment_prefixes(found.weight * on_time[here, of_day, -1], fits, 0)
    for hours in HOURS_LATER:
        weight = found.weight * later[here, of_day, -1] / len(HOURS_LATER)
        result[:, N_FIELDS:] += _moment_prefixes(weight, fits, hours)
    return result


def field_prefixes(world: World, rest: Attributes, ids: np.ndarray, kind: int) -> np.ndarray:
    """(B, 2, N_FIELDS): the probability of the first fields given the type, on workdays and weekends.

    Args:
        kind: the anomaly, or AS_USUAL.
    """
    vocabularies = world.vocabularies
    fits = [
        (vocabularies.people.equal, rest.actor),
        (vocabularies.people.equal, rest.recipient),
        (vocabularies.people.equal, rest.approver),
        (vocabularies.sites.other if kind == LOCATION else vocabularies.sites.equal, rest.location),
        (vocabularies.codes.other if kind == COST else vocabularies.codes.equal, rest.cost),
    ]
    result = np.empty((len(ids), 2, N_FIELDS))
    result[..., 0] = 1.0
    alive = rest.share
    for c, (fit, values) in enumerate(fits, start=1):
        alive = alive * fit(values, ids[:, c, None])
        result[..., c] = alive.sum(1)[:, None]
    fit = vocabularies.jobs.other if kind == JOB else vocabularies.jobs.equal
    job = (rest.job_share * fit(rest.job, ids[:, 6, None])[:, None]).sum(2)  # (B, 2)
    result[..., 6] = result[..., 5] * job
    result[..., 7] = result[..., 6] * _sheet(rest, ids)[:, None]
    return result


def field_marginals(world: World, rest: Attributes, ids: np.ndarray) -> np.ndarray:
    """(B, 2, N_FIELDS - 1): the probability of each field on its own but the type, given the type."""
    people, sites, codes, jobs = world.vocabularies
    result = np.empty((len(ids), 2, N_FIELDS - 1))
    for c, values in enumerate((rest.actor, rest.recipient, rest.approver), start=1):
        result[..., c - 1] = (rest.share * people.equal(values, ids[:, c, None])).sum(1)[:, None]
    for c, vocabulary, values in ((4, sites, rest.location), (5, codes, rest.cost)):
        result[..., c - 1] = (rest.share * _recorded(world, vocabulary, values, ids[:, c, None])).sum(1)[:, None]
    result[..., 5] = (rest.job_share * _recorded(world, jobs, rest.job, ids[:, 6, None])[:, None]).sum(2)
    result[..., 6] = _sheet(rest, ids)[:, None]
    return result


def _recorded(world: World, vocabulary: Values, value: np.ndarray, id_: np.ndarray) -> np.ndarray:
    """The probability that a field shows the id, if it has this value unless disturbed."""
    return (1 - world.disturbed) * vocabulary.equal(value, id_) + world.disturbed * vocabulary.other(value, id_)


def _sheet(rest: Attributes, ids: np.ndarray) -> np.ndarray:
    return rest.sheet_share[np.arange(len(ids)), ids[:, 7] - 1]


class Fits(NamedTuple):
    """Which moments fit an event, by category; all (B, K) bool."""

    hours: dict[int, np.ndarray]  # by how many hours later than usual the event happens
    date: dict[int, tuple[np.ndarray, ...]]  # month, day, hour; likewise
    fixed: tuple[np.ndarray, ...]  # minute, and the four of the reference: the same however late

    @classmethod
    def of(cls, found: Moments, ids: np.ndarray) -> "Fits":
        """Compare moments with the ids (B, C) of what happened."""
        observed = ids[:, N_FIELDS:, None].astype(np.int32)
        time, reference, worked = (x.astype(np.int32) for x in (found.time, found.reference, found.hours))
        is_out = (found.type == PUNCH_OUT).astype(np.int32)
        later = (0, *HOURS_LATER)
        return cls(
            {n: hours_id(worked + 60 * n * is_out) == observed[:, 0] for n in later},
            {
                n: tuple(id_of(time + 60 * n) == observed[:, c] for c, id_of in enumerate(DATETIME_IDS[:3], 1))
                for n in later
            },
            (
                minute_id(time) == observed[:, 4],
                *(id_of(reference) == observed[:, c] for c, id_of in enumerate(DATETIME_IDS, 5)),
            ),
        )

    def after(self, hours: int) -> tuple[np.ndarray, ...]:
        """Per category, in the schema's order."""
        return (self.hours[hours], *self.date[hours], *self.fixed)

    def take(self, rows: np.ndarray) -> "Fits":
        """Those of some of the events."""
        return Fits(
            {n: fits[rows] for n, fits in self.hours.items()},
            {n: tuple(column[rows] for column in fits) for n, fits in self.date.items()},
            tuple(column[rows] for column in self.fixed),
        )


def moment_marginals(world: World, weight: np.ndarray, fits: Fits) -> np.ndarray:
    """(B, C - N_FIELDS): the probability that one of these moments comes and fits, by category."""
    result = np.zeros((len(weight), len(CATEGORIES) - N_FIELDS))
    ways = [(0, 1 - world.disturbed), *((hours, world.disturbed / len(HOURS_LATER)) for hours in HOURS_LATER)]
    for hours, share in ways:
        for c, fit in enumerate(fits.after(hours)):
            result[:, c] += share * _sum_where(weight, fit)
    return result


def _moment_prefixes(weight: np.ndarray, fits: Fits, hours_later: int) -> np.ndarray:
    """(B, C - N_FIELDS): the weight of the moments whose first 1, 2, ... categories fit."""
    result = np.empty((len(weight), len(CATEGORIES) - N_FIELDS))
    alive = np.ones(weight.shape, bool)
    for c, fit in enumerate(fits.after(hours_later)):
        alive &= fit
        result[:, c] = _sum_where(weight, alive)
    return result


def _sum_where(weight: np.ndarray, is_in: np.ndarray) -> np.ndarray:
    return np.einsum("bk,bk->b", weight, is_in)

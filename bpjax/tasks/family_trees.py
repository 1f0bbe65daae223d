"""The family trees of Hinton 1986: who is the aunt of Colin?

    Christopher = Penelope              Andrew = Christine            Roberto = Maria          Pierro = Francesca
         ┌───────────┴───────┐           ┌──────┴───────────┐           ┌──────┴──────┐          ┌──────┴──────┐
      Arthur = Margaret   Victoria  =  James    Jennifer = Charles    Emilio = Gina  Lucia = Marco    Angela = Tomaso
                               ┌─────────┴────┐                                      ┌────┴─────┐
                             Colin       Charlotte                                Alfonso     Sophia

The two trees have the same form: the English people in their order correspond to the Italian ones in theirs.
"""

from typing import NamedTuple

import numpy as np

from bpjax.tasks.boolean import Levels, check_levels, in_levels
from bpjax.tasks.task import Task

ENGLISH = (
    "Christopher", "Andrew", "Arthur", "James", "Charles", "Colin",
    "Penelope", "Christine", "Victoria", "Jennifer", "Margaret", "Charlotte",
)  # fmt: skip
ITALIAN = (
    "Roberto", "Pierro", "Emilio", "Marco", "Tomaso", "Alfonso",
    "Maria", "Francesca", "Lucia", "Angela", "Gina", "Sophia",
)  # fmt: skip

PEOPLE: tuple[str, ...] = (*ENGLISH, *ITALIAN)
"""The 24 people in the order of their units: 12 English, then the 12 Italian ones in the same places of their tree."""

RELATIONSHIPS: tuple[str, ...] = (
    "father", "mother", "husband", "wife", "son", "daughter",
    "uncle", "aunt", "brother", "sister", "nephew", "niece",
)  # fmt: skip
"""The 12 relationships in the order of their units."""

# (husband, wife, children) as places in a tree: 0 to 5 are men, 6 to 11 women
FAMILIES = ((0, 6, (2, 8)), (1, 7, (3, 9)), (2, 10, ()), (3, 8, (5, 11)), (4, 9, ()))
GENERATION = (0, 0, 1, 1, 1, 2)
BRANCH = {0: 0, 6: 0, 2: 0, 10: 0, 8: 0, 1: 1, 7: 1, 3: 1, 9: 1, 4: 1, 5: 2, 11: 2}


class Triple(NamedTuple):
    """`person2` is the `relationship` of `person1`: (Colin, aunt, Jennifer)."""

    person1: str
    relationship: str
    person2: str


def family_triples() -> tuple[Triple, ...]:
    """The 112 triples of both trees, 56 each; uncles and aunts include those by marriage.

    The papers count 104: a person and a relationship together, whether one or two people are the answer. The four
    children of the youngest generation each have two uncles and two aunts, which are 8 triples more.
    """
    return tuple(
        Triple(people[a], relationship, people[b])
        for people in (ENGLISH, ITALIAN)
        for relationship in RELATIONSHIPS
        for a in range(12)
        for b in range(12)
        if relationship in _relationships(a, b)
    )


def family_groups() -> dict[str, np.ndarray]:
    """What the trees say of each person: the integers (24,) of its nationality, generation and branch.

    `nationality` is 0 English, 1 Italian. `generation` is 0 for the grandparents to 2. `branch` is 0 for the family of
    Christopher and Penelope, 1 for that of Andrew and Christine, with those who married into it, and 2 for the
    grandchildren, who come from both.
    """
    place = np.arange(24) % 12
    return {
        "nationality": np.arange(24) // 12,
        "generation": np.array(GENERATION)[place % 6],
        "branch": np.array([BRANCH[p] for p in place.tolist()]),
    }


def _relationships(a: int, b: int) -> set[str]:
    """What the person at place `b` of a tree is to the person at place `a`."""

    def kin(male: str, female: str) -> str:
        return male if b < 6 else female

    parents = {child: {husband, wife} for husband, wife, children in FAMILIES for child in children}
    spouse = {a: b for husband, wife, _ in FAMILIES for a, b in ((husband, wife), (wife, husband))}

    def siblings(person: int) -> set[int]:
        return {other for other in parents if other != person and parents[other] == parents.get(person)}

    def uncles_and_aunts(person: int) -> set[int]:
        by_blood = {sibling for parent in parents.get(person, ()) for sibling in siblings(parent)}
        return by_blood | {spouse[person] for person in by_blood if person in spouse}

    related = {
        kin("father", "mother"): b in parents.get(a, ()),
        kin("husband", "wife"): spouse.get(a) == b,
        kin("son", "daughter"): a in parents.get(b, ()),
        kin("brother", "sister"): b in siblings(a),
        kin("uncle", "aunt"): b in uncles_and_aunts(a),
        kin("nephew", "niece"): a in uncles_and_aunts(b),
    }
    return {name for name, holds in related.items() if holds}


def family_trees(levels: Levels = (0.0, 1.0), target_levels: Levels | None = None) -> Task:
    """Who stands in a relationship to a person, in two family trees (Hinton 1986; Rumelhart et al. 1986, Nature).

    An example is a person and a relationship, x (104, 24 + 12) with two units on, in the order of `family_triples`; the
    target (104, 24) has the units of all who stand in this relationship to the person on: one, or for 8 examples both
    uncles or both aunts.

    The network of the papers is (24 + 12)-(6 + 6)-12-6-24: people and relationships have separate first layers.

    Args:
        levels: (off, on) in the examples.
        target_levels: (off, on) in the targets; None for `levels`.

    Raises:
        ValueError: the levels are not two finite numbers, lower first.
    """
    levels, target_levels = check_levels("family_trees", levels, target_levels)
    people, relationships = np.eye(len(PEOPLE)), np.eye(len(RELATIONSHIPS))
    answers: dict[tuple[str, str], np.ndarray] = {}
    for person, relationship, other in family_triples():
        on = answers.setdefault((person, relationship), np.zeros(len(PEOPLE)))
        on[PEOPLE.index(other)] = 1
    x = np.array([[*people[PEOPLE.index(p)], *relationships[RELATIONSHIPS.index(r)]] for p, r in answers])
    targets = np.array(list(answers.values()))

    def present(key=None):
        return in_levels(x, levels), in_levels(targets, target_levels)

    return Task("family_trees", (len(x[0]),), (len(PEOPLE),), present, (12, 12, 6))

"""Schedules: who writes what into an inbox, when, and what befalls the daemon meanwhile.

Drawn from a `Random`, which Hypothesis can shrink and a seed can repeat. All times follow from
`settle_s`: what covers itself (a proof, an open descriptor, a temporary name) may pause as long as
it likes; what does not, and closes its file in between, pauses less than that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random

from tests.flow.scans import FORMS, content_of, file_name, slice_of
from tests.flow.writers import Dripping, Filling, Writing

SERIES_SETTLE = 3  # how many times `settle_s` a series has to be quiet
SHORT: tuple[float, ...] = (0.0, 0.05, 0.4, 0.95)
LONG: tuple[float, ...] = (*SHORT, 1.05, 1.05, 1.3, 2.6, 30.0, 110.0)
ORDERS = ("front", "back", "random")
SUMMED = [name for name, form in FORMS.items() if form.sums]
UNPROVING = [name for name, form in FORMS.items() if not form.proves]
BIG = ["dicom big", "nifti big", "nifti gz"]


Work = Writing | Filling | Dripping


@dataclass(frozen=True, slots=True)
class Shock:
    """What befalls the daemon: a `restart`, or its clock set an hour `back` or `forth`."""

    at_s: float
    kind: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """All that happens in one house. `hears`: file events arrive; `late_s`: how slow looks are."""

    works: tuple[Work, ...]
    shocks: tuple[Shock, ...] = ()
    hears: bool = True
    late_s: float = 0.0
    has_wishes: bool = False
    incomplete_after_s: float = 10_000.0


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a kind of writer is drawn with."""

    chance: Random
    settle_s: float
    seed: int

    def form(self) -> str:
        """Return a form, those that prove nothing more often than others."""
        return self.chance.choice([*FORMS, *UNPROVING, *UNPROVING])

    def pauses(self, choices: tuple[float, ...], count: int) -> tuple[float, ...]:
        """Return pauses in seconds, most of them short ones."""
        return tuple(self.settle_s * self.chance.choice(choices) for _ in range(count))

    def writing(
        self,
        form: str,
        pauses: tuple[float, ...],
        *,
        order: str = "front",
        least: int = 1,
        ends_hollow: bool = True,
    ) -> Writing:
        """Return a writing of some pieces, each of them at least so long.

        Of a file that has its size before its content, the last piece must hold more than zeros
        (`ends_hollow` false): it is whole without them.
        """
        content = content_of(form, self.seed)
        size = len(content if ends_hollow else content.rstrip(b"\0"))
        some = {self.chance.randrange(least, size) for _ in range(self.chance.randint(1, 4))}
        cuts = tuple(sorted(some))
        numbers = list(range(len(cuts) + 1))
        if order == "back":
            numbers.reverse()
        elif order == "random":
            self.chance.shuffle(numbers)
        return Writing(form, self.seed, cuts, tuple(numbers), self.pauses(pauses, len(cuts) + 2))


# --- one file -------------------------------------------------------------------------------------


def _appends_held(draw: Drawing) -> Writing:
    return draw.writing(draw.form(), LONG, least=0)


def _appends_and_closes(draw: Drawing) -> Writing:
    form = draw.form()
    pauses = LONG if FORMS[form].proves else SHORT
    return replace(draw.writing(form, pauses, least=0), hand="reopened")


def _trickles(draw: Drawing) -> Writing:
    """Write a thousand bytes a second, or with pauses just over `settle_s`."""
    form = draw.chance.choice(BIG)
    size = len(content_of(form, draw.seed))
    cuts = tuple(range(1000, size, 1000))
    pauses = draw.pauses((0.5, 0.5, 1.05), len(cuts) + 1)
    order = tuple(range(len(cuts) + 1))
    hand = draw.chance.choice(("held", "reopened"))
    return Writing(form, draw.seed, cuts, order, pauses, hand=hand)


def _makes_the_size_first(draw: Drawing) -> Writing:
    form, order = draw.form(), draw.chance.choice(ORDERS)
    how = draw.chance.choice(("truncate", "fallocate"))
    return replace(draw.writing(form, LONG, order=order), size_first=how)


def _makes_the_size_first_and_closes(draw: Drawing) -> Writing:
    """Leave it to what can tell: a checksum, or the quiet time of what proves nothing."""
    form = draw.chance.choice([*SUMMED, *UNPROVING])
    order = "front" if FORMS[form].sums else draw.chance.choice(ORDERS)
    how = draw.chance.choice(("truncate", "fallocate"))
    pauses = LONG if FORMS[form].sums else SHORT
    one = draw.writing(form, pauses, order=order, ends_hollow=False)
    return replace(one, size_first=how, hand="reopened")


def _maps(draw: Drawing) -> Writing:
    form, order = draw.form(), draw.chance.choice(ORDERS)
    return replace(draw.writing(form, LONG, order=order), hand="mapped")


def _keeps_an_old_date(draw: Drawing) -> Writing:
    """As copies from Windows do: the size, the content, then the date of the original."""
    hand, dated = draw.chance.choice(("held", "reopened")), draw.chance.choice(("inside", "closed"))
    form = draw.form()
    may_have_holes = hand == "held" or FORMS[form].sums or not FORMS[form].proves
    size_first = draw.chance.choice(("", "truncate")) if may_have_holes else ""
    shows = FORMS[form].sums if size_first else FORMS[form].proves
    pauses = LONG if hand == "held" or shows else SHORT
    one = draw.writing(form, pauses, ends_hollow=not size_first)
    return replace(one, hand=hand, dated=dated, size_first=size_first)


def _takes_a_temporary_name(draw: Drawing) -> Writing:
    form = draw.form()
    name = file_name(form, draw.seed)
    ways = (
        f"{name}.part",
        f"{name}.crdownload",
        f"~${name}",
        f".{name}.Xa8f2k",
        f"{draw.seed}.tmp",
    )
    one = replace(draw.writing(form, LONG), by_way_of=draw.chance.choice(ways))
    return replace(one, hand=draw.chance.choice(("held", "reopened")))


def _early(draw: Drawing, one: Writing) -> Writing:
    """Lay a first try under the name before. `pauses_s[-1]` is how long it lies there."""
    return replace(one, early=draw.chance.randrange(1, len(one.content)))


def _renames_over(draw: Drawing) -> Writing:
    """As rsync does: the rest of a broken transfer is replaced by another file."""
    form = draw.form()
    one = draw.writing(form, LONG if FORMS[form].proves else SHORT)
    if not FORMS[form].proves:  # the first try lies there while the draft is written
        one = replace(one, cuts=(), order=(0,), pauses_s=(draw.settle_s * 0.3,))
    return replace(_early(draw, one), by_way_of=f".{one.name}.Xa8f2k")


def _starts_again(draw: Drawing) -> Writing:
    """Write a part, delete it, and write the whole."""
    form = draw.form()
    one = draw.writing(form, LONG if FORMS[form].proves else SHORT)
    return replace(_early(draw, one), is_removed=True, hand="reopened")


WRITERS: Mapping[str, Callable[[Drawing], Work]] = {
    "appends, held open": _appends_held,
    "appends, closed in between": _appends_and_closes,
    "a thousand bytes a second": _trickles,
    "full size first, held open": _makes_the_size_first,
    "full size first, closed in between": _makes_the_size_first_and_closes,
    "memory map": _maps,
    "old date": _keeps_an_old_date,
    "temporary name": _takes_a_temporary_name,
    "renamed over a broken one": _renames_over,
    "deleted and made anew": _starts_again,
}


# --- one folder -----------------------------------------------------------------------------------

MEMBERS = (("nifti", "dicom", "zip", "nrrd"), ("stl",), ("ply", "stl ascii"), ("obj",))
COVERS = ("", "part", "first", "inside", "outside")


def _member(draw: Drawing, forms: tuple[str, ...]) -> tuple[str, Writing]:
    """Draw a file of a folder; it is closed as soon as it is whole, for a close is no change."""
    one = draw.writing(draw.chance.choice(forms), SHORT)
    at_once = (*one.pauses_s[: len(one.cuts)], 0.0)
    hand = draw.chance.choice(("held", "reopened"))
    below = draw.chance.choice(("", "", "meshes", "export/scan 1"))
    return below, replace(one, pauses_s=at_once, hand=hand)


def _fills(draw: Drawing, cover: str) -> Filling:
    wanted = draw.chance.sample(range(len(MEMBERS)), draw.chance.randint(2, len(MEMBERS)))
    members = [_member(draw, MEMBERS[number]) for number in wanted]
    if cover == "first":
        others = [member for number, member in zip(wanted, members, strict=True) if number]
        members = [_member(draw, MEMBERS[0]), *others]
    gaps = draw.pauses(LONG if cover else SHORT, len(members) + 1)
    return Filling(f"case-{draw.seed}", tuple(members), gaps, cover)


# --- one series ---

SLICES = 12
WAYS = ("whole", "renamed", "pieces")


def _drips(draw: Drawing) -> Dripping:
    """Come one by one, in any order, each before the series has been quiet for long enough."""
    return _series(draw, SHORT)


def _drips_counted(draw: Drawing) -> Dripping:
    """Come as slowly as they like: each slice says how many there are."""
    return replace(_series(draw, (*SHORT, 1.05, 1.3, 5.0)), is_counted=True)


def _drips_into_a_folder(draw: Drawing) -> Dripping:
    one = replace(_series(draw, SHORT), folder=f"case-{draw.seed}")
    cover = draw.chance.choice(("", "", "inside", "outside"))
    way = draw.chance.choice(WAYS)
    return replace(one, cover=cover, way=way, is_counted=draw.chance.choice((True, False)))


def _series(draw: Drawing, pauses: tuple[float, ...]) -> Dripping:
    order = list(range(1, SLICES + 1))
    if draw.chance.choice((True, False)):
        draw.chance.shuffle(order)
    waits = tuple(SERIES_SETTLE * wait_s for wait_s in draw.pauses(pauses, SLICES))
    return Dripping(
        draw.seed,
        tuple(order),
        waits,
        way=draw.chance.choice(WAYS),
        cut=draw.chance.randrange(len(slice_of(draw.seed, 1)) - 1),
    )


SERIES: Mapping[str, Callable[[Drawing], Work]] = {
    "loose slices": _drips,
    "loose slices, counted": _drips_counted,
    "folder of slices": _drips_into_a_folder,
}


# --- a whole schedule -----------------------------------------------------------------------------


def drawn(chance: Random, kind: str, *, settle_s: float) -> Schedule:
    """Draw a schedule of writers of one kind."""
    count = chance.choice((1, 1, 1, 2, 3))
    works = tuple(drawn_work(chance, kind, settle_s, seed=number + 1) for number in range(count))
    shocks = [
        Shock(settle_s * chance.choice((0.5, 1.5, 4.0, 12.0, 40.0)), chance.choice(SHOCKS))
        for _ in range(chance.choice((0, 0, 1, 2)))
    ]
    return Schedule(
        works=works,
        shocks=tuple(shocks),
        hears=chance.choice((True, False)),
        late_s=settle_s * chance.choice((0.0, 0.0, 0.1, 0.7)),
        has_wishes=chance.choice((False, False, True)),
    )


SHOCKS = ("restart", "back", "forth")
FOLDERS = {f"folder, {cover or 'pauses only'}": cover for cover in COVERS}
KINDS = [*WRITERS, *FOLDERS, *SERIES]


def drawn_work(chance: Random, kind: str, settle_s: float, *, seed: int) -> Work:
    """Draw one writer: a key of `WRITERS`, `FOLDERS` or `SERIES`."""
    draw = Drawing(chance, settle_s, seed)
    if kind in FOLDERS:
        work: Work = _fills(draw, FOLDERS[kind])
    else:
        work = {**WRITERS, **SERIES}[kind](draw)
    return replace(work, before_s=settle_s * chance.choice((0.0, 0.0, 0.6, 3.0)))

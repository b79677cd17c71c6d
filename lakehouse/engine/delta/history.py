"""Versions of a thing (SCD2), made of what was seen of it and when. Frames in, a frame out."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from lakehouse.engine.declare.write import VALID_TO

# Names that no column of a table can have: they hold a space.
_SEEN, _NEXT, _GONE, _VERSION = "seen at", "next seen at", "gone at", "version number"


@dataclass(frozen=True)
class Versions:
    """How versions are made: `who` names a thing, `valid_at` says since when a row of it is so.

    Where one of `tracks` changes, a version begins. `marker`: a Boolean column of what is seen and of no version; where
    it is true the thing is gone since then.
    """

    who: tuple[str, ...]
    valid_at: str
    tracks: tuple[str, ...]
    marker: str | None = None

    def made(self, observed: pl.DataFrame, standing: pl.DataFrame, *, seen: object, whole: pl.Series) -> pl.DataFrame:
        """The versions that `observed` begins, ends or changes.

        observed: a row for each thing and time it was seen at, all after `seen`, with a null `valid_to`.
        standing: the open versions of these things, as they were `seen`; none where all is made anew.
        whole: the times at which everything was seen that there was: what was not, is gone since.
        Shape: (n, c), (m, c) → (at most n + m, c).
        """
        at, columns = pl.col(self.valid_at), standing.columns
        if self.marker:
            standing = standing.with_columns(pl.lit(value=False).alias(self.marker))
        rows = pl.concat([
            standing.with_columns(pl.lit(seen, observed.schema[self.valid_at]).alias(_SEEN)),
            observed.with_columns(at.alias(_SEEN)),
        ]).sort(*self.who, _SEEN)  # fmt: skip
        rows = rows.with_columns(pl.col(_SEEN).shift(-1).over(self.who).alias(_NEXT))
        rows = rows.with_columns(_gone(rows, whole))
        if self.marker:
            is_ended = pl.col(self.marker).shift(-1).over(self.who)
            rows = rows.with_columns(pl.coalesce(_GONE, pl.when(is_ended).then(_NEXT))).filter(~pl.col(self.marker))
        rows = rows.with_columns((~self._goes_on()).cum_sum().alias(_VERSION))
        others = [name for name in columns if name not in (self.valid_at, VALID_TO)]
        versions = rows.group_by(_VERSION, maintain_order=True).agg(
            pl.col(others).last(), at.first(), pl.col(_GONE).last()
        )
        until = pl.coalesce(_GONE, at.shift(-1).over(self.who))
        made = versions.with_columns(until.alias(VALID_TO)).select(columns)
        return made.join(standing, on=made.columns, how="anti", nulls_equal=True, maintain_order="left")

    def broken(self, versions: pl.LazyFrame, *, gapless: bool) -> pl.DataFrame:
        """Of versions, all that each of their things has, the keys of those that cannot be.

        Each must begin before it ends, and end before the next one of its thing begins, or (`gapless`) as it begins; so
        that the last one at most is open, and where there may be no gap it must be.
        """
        at, until = pl.col(self.valid_at), pl.col(VALID_TO)
        key = [*self.who, self.valid_at]
        rows = versions.select(*key, VALID_TO).sort(key)
        is_followed = pl.all_horizontal(pl.col(name) == pl.col(name).shift(-1) for name in self.who)
        after = pl.when(is_followed).then(at.shift(-1))
        overlaps = after.is_not_null() & (until.is_null() | (until > after))
        return rows.filter((until <= at) | (until.ne_missing(after) if gapless else overlaps)).select(key).collect()

    def unsure(self, came: pl.DataFrame, standing: pl.DataFrame) -> pl.DataFrame:
        """The things of which standing versions do not tell what a row that came late makes of them. Shape: who.

        A row changes nothing where it says all that the version says which holds at its time; one from before the first
        version begins one, or lets that begin earlier. Any other falls between rows that are known no more.
        """
        who, at = list(self.who), pl.col(self.valid_at)
        others = [name for name in came.columns if name not in (*who, self.valid_at, VALID_TO)]
        first = standing.group_by(who).agg(at.min().alias(_SEEN))
        inside = came.join(first, on=who).filter(at >= pl.col(_SEEN)).select(came.columns)
        since = standing.with_columns(at.alias(_SEEN), pl.col(VALID_TO).alias(_GONE)).drop(self.valid_at, VALID_TO)
        holds = (at >= pl.col(_SEEN)) & (pl.col(_GONE).is_null() | (at < pl.col(_GONE)))
        same = inside.join(since, on=[*who, *others], nulls_equal=True).filter(holds)
        return inside.join(same, on=[*who, self.valid_at], how="anti").select(who).unique()

    def _goes_on(self) -> pl.Expr:
        """Whether a row says of the same thing the same as the row before, and it was not gone in between."""
        same = [pl.col(name).eq_missing(pl.col(name).shift()) for name in (*self.who, *self.tracks)]
        is_first = pl.int_range(pl.len()) == 0
        return pl.all_horizontal(~is_first, *same, pl.col(_GONE).shift().is_null())


def _gone(rows: pl.DataFrame, whole: pl.Series) -> pl.Series:
    """Beside each row the first whole time after it, if the thing was not seen again before that or at it; or null."""
    times = whole.unique().sort()
    places = times.search_sorted(rows[_SEEN], side="right")
    after = pl.concat([times, times.clear(1)]).gather(places)
    told = rows.select(pl.when((after < pl.col(_NEXT)) | pl.col(_NEXT).is_null()).then(after))
    return told.to_series().alias(_GONE)

"""What `@table` may be told, and the sentence for each thing that it may not; every transform tried on empty frames."""

import sys
from collections.abc import Callable
from datetime import timedelta
from textwrap import dedent
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from lakehouse.engine.declare.contract import Bronze, Contract, Gold, Silver, Struct, column, schema_of
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.formats import JsonLines
from lakehouse.engine.declare.frames import Frame, New
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.table import PROVENANCE, STORED_BESIDE, Declaration, declare
from lakehouse.engine.declare.write import Append, Merge, Overwrite, Quarantine, Write


class Line(Struct):
    sku: str = column("Product")
    qty: int = column("Pieces")


class Sent(Bronze):
    """One row per order, as sent."""

    order_no: str = column("Number")
    amount: int = column("Pence")
    lines: list[Line] = column("Its lines")


class Told(Silver):
    """One row per order."""

    order_no: str = column("Number", key=True)
    amount: int = column("Pence")


class Logged(Silver):
    """One row per thing that happened."""

    order_no: str = column("Number")


class Summed(Gold):
    """One row per order."""

    order_no: str = column("Number", key=True)
    amount: int = column("Pence")


def sent() -> Frame[Sent]: ...  # type: ignore[empty-body]


def told(orders: New[Sent]) -> Frame[Told]:
    return orders.select("order_no", "amount")


def logged(orders: New[Sent]) -> Frame[Logged]:
    return orders.select("order_no")


def summed(orders: Frame[Told]) -> Frame[Summed]:
    return orders


FILES = Files("orders/*.jsonl", formats=JsonLines())
SENT = declare(sent, write=Append(), source=FILES)
TOLD = declare(told, write=Merge())
LOGGED = declare(logged, write=Append())
SUMMED = declare(summed, write=Overwrite())


def fresh(base: type[Contract], name: str = "Fresh", **columns: Any) -> Any:
    """A contract that belongs to no table yet; a column is its type, or its type and `column()`."""
    members: dict[str, Any] = {"__doc__": "One row per thing.", "__annotations__": {}}
    for label, said in (columns or {"order_no": (str, column("Number", key=base is Gold))}).items():
        hint, field = said if isinstance(said, tuple) else (said, column("It"))
        members["__annotations__"][label] = hint
        members[label] = field
    return type(base)(name, (base,), members)


def refused(body: Callable[[], object]) -> str:
    with pytest.raises(DeclarationError) as caught:
        body()
    return str(caught.value)


MERGED = Merge()


def table(
    returns: Any, *reads: Any, write: Write = MERGED, does: Callable[..., Any] | None = None, **words: Any
) -> Declaration:
    """Declares a table `fresh` that reads the given frames as a, b, c …"""

    def transform(*frames: pl.LazyFrame) -> pl.LazyFrame:
        return (does or (lambda *all_of: all_of[0].select("order_no")))(*frames)

    return declare(_with_signature(transform, returns, reads), write=write, **words)


def _with_signature(transform: Callable[..., Any], returns: Any, reads: tuple[Any, ...]) -> Callable[..., Any]:
    import inspect

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    read = [inspect.Parameter(name, kind, annotation=hint) for name, hint in zip("abcdef", reads, strict=False)]
    transform.__signature__ = inspect.Signature(read, return_annotation=returns)  # type: ignore[attr-defined]
    transform.__name__ = "fresh"
    return transform


KEYED: dict[str, Any] = {"order_no": (str, column("Number", key=True))}


# ---- what a declaration says ----


def test_the_signature_says_what_is_read_and_how():
    assert [(each.parameter, each.upstream, each.reading.value) for each in TOLD.reads] == [("orders", SENT, "New")]
    assert [(each.parameter, each.upstream, each.reading.value) for each in SUMMED.reads] == [("orders", TOLD, "Frame")]
    assert (SENT.key, TOLD.key, SUMMED.key) == ("bronze/sent", "silver/told", "gold/summed")
    assert (TOLD.layer, TOLD.grain, TOLD.key_columns) == ("silver", "One row per order.", ["order_no"])


def test_bronze_stores_text_and_hands_over_types():
    text = {"order_no": pl.String(), "amount": pl.String()}
    lines = pl.List(pl.Struct({"sku": pl.String(), "qty": pl.String()}))
    assert SENT.stored_schema == pl.Schema({**text, "lines": lines, **STORED_BESIDE})
    assert SENT.handed_schema == pl.Schema({**schema_of(Sent), **PROVENANCE})
    assert TOLD.stored_schema == TOLD.handed_schema == TOLD.schema == schema_of(Told)


def test_rows_are_set_aside_where_it_is_declared_and_always_where_new_rows_are_read():
    setting_aside = table(Frame[fresh(Silver)], Frame[Told], write=Overwrite(), rejects=Quarantine())
    assert (TOLD.quarantines, SUMMED.quarantines, setting_aside.quarantines) == (True, False, True)


def test_annotations_may_be_postponed_in_a_table_file():
    name = "postponed_tables"
    source = """
        from __future__ import annotations
        import polars as pl
        from lakehouse import Append, Bronze, Files, Frame, JsonLines, Merge, New, Silver, column
        from lakehouse.engine.declare.table import declare

        class Came(Bronze):
            '''One row per thing that came.'''
            thing: str = column("Thing")

        class Things(Silver):
            '''One row per thing.'''
            thing: str = column("Thing", key=True)

        def came() -> Frame[Came]: ...

        def things(came: New[Came]) -> Frame[Things]:
            return came.select("thing")

        declare(came, write=Append(), source=Files("came/*.jsonl", formats=JsonLines()))
        declared = declare(things, write=Merge())
        """
    sys.modules[name] = module = ModuleType(name)
    try:
        exec(compile(dedent(source), name, "exec"), vars(module))
        assert [read.upstream.key for read in module.declared.reads] == ["bronze/came"]
    finally:
        del sys.modules[name]


def test_a_name_for_the_type_checker_only_is_refused():
    def hidden(orders: "New[Hidden]") -> Frame[Told]:  # type: ignore[name-defined]  # noqa: F821
        return orders

    assert refused(lambda: declare(hidden, write=Merge())) == (
        "hidden: its annotations name 'Hidden', which is not there when the file is loaded; "
        "import it outside `if TYPE_CHECKING:`."
    )


# ---- what reads what, and how it is written ----

MATRIX = {
    "Append of a Frame": (
        Append(),
        Frame[Told],
        (
            "silver/fresh: Append() of a Frame would write every row again on every run. "
            "Read New[Told], or write Overwrite() or Merge()."
        ),
    ),
    "Overwrite of New": (
        Overwrite(),
        New[Sent],
        (
            "silver/fresh: Overwrite() of New rows would leave only the last batch, and nothing after an idle run. "
            "Read Frame[Sent], or write Append() or Merge()."
        ),
    ),
    "New of a merged table": (
        Merge(),
        New[Told],
        (
            "silver/fresh: New[Told] reads appended rows, but Told's table is written by Merge(), which replaces rows. "
            "Read Frame[Told]."
        ),
    ),
    "New of an overwritten table": (
        Merge(),
        New[Summed],
        "silver/fresh: New[Summed] reads appended rows, but Summed's",
    ),
}


@pytest.mark.parametrize(("write", "reads", "sentence"), MATRIX.values(), ids=list(MATRIX))
def test_a_pair_that_would_lose_or_double_rows_is_refused(write: Write, reads: Any, sentence: str):
    assert refused(lambda: table(Frame[fresh(Silver, **KEYED)], reads, write=write)).startswith(sentence)


@pytest.mark.parametrize(
    ("write", "reads"),
    [
        (Overwrite(), Frame[Told]),
        (Overwrite(), Frame[Sent]),
        (Merge(), Frame[Told]),
        (Merge(), New[Logged]),
        (Merge(replaces="order_no"), New[Sent]),
    ],
)
def test_every_other_pair_is_a_table(write: Write, reads: Any):
    assert table(Frame[fresh(Silver, **KEYED)], reads, write=write).write == write


@pytest.mark.parametrize("reads", [New[Sent], New[Logged]])
def test_what_came_is_appended_to_a_table_without_a_key(reads: Any):
    assert table(Frame[fresh(Silver, order_no=str)], reads, write=Append()).write == Append()


# ---- refusals ----

ANYTHING: dict[str, Any] = {"order_no": (str, column("Number", key=True)), "group": str}


def bronze(contract: Any = None, **words: Any) -> Declaration:
    return table(Frame[contract or fresh(Bronze)], **{"write": Append(), "source": FILES, **words})


def without_words(base: type[Contract]) -> Any:
    return type(base)("Fresh", (base,), {"__annotations__": {"order_no": str}, "order_no": column("Number")})


def a_table_that_reads_itself() -> object:
    own = fresh(Silver, **KEYED)
    return table(Frame[own], Frame[own])


REFUSALS: dict[str, tuple[Callable[[], object], str]] = {
    "a bronze without source": (
        lambda: table(Frame[fresh(Bronze)], write=Append()),
        "bronze/fresh: a table has either source=… and no parameter, or reads other tables.",
    ),
    "a source and a parameter": (
        lambda: table(Frame[fresh(Silver)], New[Sent], source=FILES),
        "silver/fresh: a table has either source=… and no parameter, or reads other tables.",
    ),
    "a source of a silver table": (
        lambda: table(Frame[fresh(Silver)], write=Append(), source=FILES),
        "silver/fresh: a Bronze contract takes source=…, and only a Bronze contract does.",
    ),
    "a bronze that reads": (
        lambda: table(Frame[fresh(Bronze)], New[Sent], write=Append()),
        "bronze/fresh: a Bronze contract takes source=…, and only a Bronze contract does.",
    ),
    "a source that is merged": (lambda: bronze(write=Merge()), "bronze/fresh: Merge() needs a key"),
    "a source that is overwritten": (
        lambda: bronze(write=Overwrite()),
        "bronze/fresh: a source is appended; write=Append().",
    ),
    "rejects of bronze": (
        lambda: bronze(rejects=Quarantine()),
        "bronze/fresh: bronze sets aside what it cannot read by itself; leave rejects=… to the tables that read it.",
    ),
    "counting of bronze": (
        lambda: bronze(conserves="rows"),
        "bronze/fresh: landing counts every record by itself; leave conserves=… and drops=… to the tables that",
    ),
    "no docstring": (
        lambda: table(Frame[without_words(Silver)], New[Sent], write=Append()),
        "silver/fresh: Fresh has no docstring; its first line is the grain.",
    ),
    "Merge without a key": (
        lambda: table(Frame[fresh(Silver)], New[Sent]),
        "silver/fresh: Merge() needs a key; mark its columns with column(…, key=True).",
    ),
    "gold without a key": (
        lambda: table(Frame[fresh(Gold, order_no=str)], Frame[Told], write=Overwrite()),
        "gold/fresh: a gold table states its grain; mark its columns with column(…, key=True).",
    ),
    "an appended gold without a key": (
        lambda: table(Frame[fresh(Gold, order_no=str)], New[Sent], write=Append()),
        "gold/fresh: a gold table states its grain; mark its columns with column(…, key=True).",
    ),
    "an appended table with a key": (
        lambda: table(Frame[fresh(Silver, **KEYED)], New[Sent], write=Append()),
        (
            "silver/fresh: Append() looks at no row that stands, so that a key (order_no) could be there twice. Write "
            "Merge(), which keeps the later row of each, or, below gold, leave key=True away."
        ),
    ),
    "replaces of no column": (
        lambda: table(Frame[fresh(Silver, **KEYED)], New[Sent], write=Merge(replaces="order")),
        "silver/fresh: Merge(replaces='order') names no column of Fresh.",
    ),
    "replaces of what the upstream has not": (
        lambda: table(Frame[fresh(Silver, **ANYTHING)], New[Sent], write=Merge(replaces="group")),
        (
            "silver/fresh: Merge(replaces='group') needs a column of that name in bronze/sent, "
            "to tell which arrival of a group is the later one."
        ),
    ),
    "a higher layer": (
        lambda: table(Frame[fresh(Silver, **KEYED)], Frame[Summed]),
        "silver/fresh: it reads gold/summed, and a table reads its own or a lower layer.",
    ),
    "itself": (a_table_that_reads_itself, "fresh(a): a table cannot read itself; Merge() keeps what stands."),
    "a contract without a table": (
        lambda: table(Frame[fresh(Silver, **KEYED)], Frame[fresh(Silver, "Nowhere")]),
        "fresh(a): Nowhere belongs to no table yet; import the file of its table first.",
    ),
    "one contract for two tables": (
        lambda: table(Frame[Told], New[Sent], does=told),
        "silver/fresh: Told is already the contract of silver/told; one contract, one table.",
    ),
    "conserving a word": (
        lambda: table(Frame[fresh(Silver, **KEYED)], New[Sent], conserves="row"),
        "silver/fresh: conserves='row' is neither \"rows\" nor two expressions, of the input and the output.",
    ),
    "no return": (
        lambda: table(pl.LazyFrame, New[Sent]),
        (
            "fresh's return: <class 'polars.lazyframe.frame.LazyFrame'> names no contract; "
            "annotate it with Frame[YourContract]."
        ),
    ),
    "a return of New": (lambda: table(New[Told], New[Sent]), "fresh's return: New[Told] names no contract; annotate"),
    "a parameter that is a contract": (
        lambda: table(Frame[fresh(Silver, **KEYED)], Told),
        "fresh(a): Told names no contract; annotate it with Frame[YourContract] or New[YourContract] or Affected",
    ),
    "a frame of no contract": (
        lambda: table(Frame[fresh(Silver)], Frame[Line]),  # type: ignore[type-arg] # the type checker says so too
        "fresh(a): Frame[Line] names no contract",
    ),  # type: ignore[type-var]
}


@pytest.mark.parametrize(("make", "sentence"), REFUSALS.values(), ids=list(REFUSALS))
def test_a_declaration_that_cannot_work_is_refused(make: Callable[[], object], sentence: str):
    assert refused(make).replace(f"{__name__}.", "").startswith(sentence)


def column_called(name: str) -> dict[str, Any]:
    return {name: str}


@pytest.mark.parametrize("name", [*STORED_BESIDE, "Source_File"])
def test_a_bronze_column_does_not_take_the_name_of_one_that_is_stored_beside_it(name: str):
    assert refused(lambda: bronze(fresh(Bronze, **column_called(name)))) == (
        f"bronze/fresh: Fresh.{name}: every bronze table stores a column {name.lower()!r} of its own (as it does "
        "extra, source_name, source_file, source_row, file_sha256, batch). "
        "Leave the field undeclared: it is kept in 'extra'."
    )


def test_a_refused_table_does_not_take_its_contract():
    contract = fresh(Silver, **KEYED)
    refused(lambda: table(Frame[contract], Frame[Told], write=Append()))
    refused(lambda: table(Frame[contract], New[Sent], does=lambda rows: rows))
    refused(lambda: table(Frame[fresh(Silver, **KEYED)], Frame[contract]))


def by_default(orders: New[Sent] = None) -> Frame[Told]:  # type: ignore[assignment]
    return orders


def many(*orders: New[Sent]) -> Frame[Told]:
    return orders[0]


def by_name(*, orders: New[Sent]) -> Frame[Told]:
    return orders


@pytest.mark.parametrize("transform", [by_default, many, by_name])
def test_an_upstream_is_a_plain_parameter(transform: Callable[..., Any]):
    sentence = refused(lambda: declare(transform, write=Merge()))
    assert sentence.endswith(": each upstream is one plain parameter, `name: Frame[Contract]`.")
    assert sentence.startswith(f"{transform.__name__}(")


def test_a_pattern_of_files_is_relative_to_the_landing_and_stays_within_a_folder():
    for pattern in ("", "/orders/*", "./orders/*", "../orders/*", "orders\\*", "orders/**/x"):
        assert refused(lambda pattern=pattern: Files(pattern, formats=JsonLines())) == (
            f"Files({pattern!r}): a pattern is relative to the landing, with '/', and '*' stays within a folder, "
            "as in 'erp/orders/dt=*/orders.jsonl.gz'."
        )
    assert refused(lambda: Files("x/*", formats=JsonLines(), settle=timedelta(-1))).endswith("is below zero.")


# ---- the trial on empty frames ----

COLUMNS = ", ".join([*schema_of(Sent), *PROVENANCE])


@pytest.mark.parametrize(
    "does",
    [
        lambda sent: sent.select("order_no", "amout"),
        lambda sent: sent.filter(pl.col("amout") > 0),
        lambda sent: sent.group_by("amout").len(),
        lambda sent: sent.join(sent, on="amout"),
        lambda sent: sent.drop("amout"),
        lambda sent: sent.rename({"amout": "x"}),
        lambda sent: sent.sort("amout"),
        lambda sent: sent.explode("amout"),
        lambda sent: sent.with_columns(total=pl.col("amout") * 2),
        lambda sent: sent.unique(subset=["amout"]),
        lambda sent: sent.collect().select("amout").lazy(),
    ],
)
def test_a_column_that_is_gone_is_named_with_its_table_and_the_nearest_one(does: Callable[..., Any]):
    assert refused(lambda: table(Frame[fresh(Silver, **KEYED)], New[Sent], does=does)) == (
        "silver/fresh: its transform fails on empty frames: column 'amout' is not there; did you mean 'amount'? "
        f"(bronze/sent hands over {COLUMNS})."
    )


def test_the_nearest_column_is_looked_for_where_the_column_is_asked_for():
    def does(orders: pl.LazyFrame) -> pl.LazyFrame:
        return orders.with_columns(total=pl.col("amount") * 2).select("order_no", "totl")

    assert "column 'totl' is not there; did you mean 'total'? (" in refused(
        lambda: table(Frame[fresh(Silver, **KEYED)], New[Sent], does=does)
    )


def test_each_upstream_says_what_it_hands_over():
    sentence = refused(
        lambda: table(
            Frame[fresh(Silver, **KEYED)], Frame[Told], Frame[Sent], does=lambda told, sent: told.select("zz")
        )
    )
    assert sentence.endswith(
        f"column 'zz' is not there (silver/told hands over order_no, amount; bronze/sent hands over {COLUMNS})."
    )


TRIALS: dict[str, tuple[Callable[..., Any], str]] = {
    "a field that is gone": (
        lambda sent: sent.select(pl.col("lines").list.eval(pl.element().struct.field("quantity"))),
        "its transform fails on empty frames: StructFieldNotFoundError: quantity.",
    ),
    "types that do not go together": (
        lambda sent: sent.select(pl.col("order_no") + pl.col("amount")),
        "its transform fails on empty frames: InvalidOperationError: arithmetic on dtypes str and i64",
    ),
    "a misspelt method": (
        lambda sent: sent.selct("order_no"),
        "its transform fails on empty frames: AttributeError: 'LazyFrame' object has no attribute 'selct'",
    ),
    "a look at rows that are not there": (
        lambda sent: sent.filter(pl.col("amount") > sent.collect()["amount"][0]),
        "its transform fails on empty frames: IndexError: ",
    ),
    "a frame that is read": (
        lambda sent: sent.select("order_no").collect(),
        "its transform returned DataFrame, not a LazyFrame; end it with .lazy().",
    ),
    "nothing": (lambda sent: None, "its transform returned NoneType, not a LazyFrame."),
    "a column too few": (
        lambda sent: sent.select("order_no"),
        "its transform does not return what Fresh declares: 'amount' is missing.",
    ),
    "a column too many": (
        lambda sent: sent.select("order_no", "amount", "batch"),
        "its transform does not return what Fresh declares: 'batch' is not declared.",
    ),
    "another type": (
        lambda sent: sent.select("order_no", pl.col("amount").cast(pl.Int32)),
        "its transform does not return what Fresh declares: 'amount' is Int32, declared Int64.",
    ),
    "several at once": (
        lambda sent: sent.select(pl.col("amount").cast(pl.String), "batch"),
        (
            "its transform does not return what Fresh declares: 'order_no' is missing; 'batch' is not declared; "
            "'amount' is String, declared Int64."
        ),
    ),
    "another order": (
        lambda sent: sent.select("amount", "order_no"),
        "its transform does not return what Fresh declares: the order is amount, order_no, declared order_no, amount.",
    ),
}


@pytest.mark.parametrize(("does", "sentence"), TRIALS.values(), ids=list(TRIALS))
def test_a_transform_that_cannot_work_is_refused_at_load(does: Callable[..., Any], sentence: str):
    contract = fresh(Silver, order_no=(str, column("Number", key=True)), amount=int)
    assert refused(lambda: table(Frame[contract], New[Sent], does=does)).startswith(f"silver/fresh: {sentence}")


COUNTING: dict[str, tuple[dict[str, Any], str]] = {
    "a measure of no input column": (
        {"conserves": (pl.col("amout").sum(), pl.len())},
        (
            "conserves' first expression goes with none of the frames that it is asked of: "
            "column 'amout' is not there; did you mean 'amount'?"
        ),
    ),
    "a measure of no output column": (
        {"conserves": (pl.col("amount").sum(), pl.col("amount").sum())},
        "conserves' second expression goes with none of the frames that it is asked of: column 'amount' is not there.",
    ),
    "a drop by no column": (
        {"drops": {"tests": pl.col("is_test")}},
        "drops['tests'] goes with none of the frames that it is asked of: column 'is_test' is not there.",
    ),
}


@pytest.mark.parametrize(("words", "sentence"), COUNTING.values(), ids=list(COUNTING))
def test_what_is_counted_is_tried_at_load(words: dict[str, Any], sentence: str):
    assert refused(lambda: table(Frame[fresh(Silver, **KEYED)], New[Sent], **words)) == f"silver/fresh: {sentence}"


def test_a_measure_need_only_go_with_one_of_the_upstreams():
    conserves = (pl.col("lines").list.len().sum(), pl.len())
    assert table(Frame[fresh(Silver, **KEYED)], Frame[Told], Frame[Sent], conserves=conserves).conserves == conserves

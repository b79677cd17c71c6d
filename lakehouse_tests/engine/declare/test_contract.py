"""What a contract may say, and the sentence for each thing that it may not."""

import datetime as dt
import sys
from collections.abc import Callable
from decimal import Decimal
from textwrap import dedent
from types import ModuleType
from typing import Annotated, Any

import pandera.errors
import pandera.polars as pa
import polars as pl
import pytest

from lakehouse.engine.declare.contract import (
    Bronze,
    Contract,
    Gold,
    Silver,
    Struct,
    check,
    column,
    columns_of,
    grain_of,
    key_of,
    layer_of,
    row_checks_of,
    schema_of,
)
from lakehouse.engine.declare.dtypes import Gbp, Int32, Measure, Utc
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.text import date_text, number_text

WORDS = column("What it is")


def refused(body: Callable[[], object]) -> str:
    with pytest.raises(DeclarationError) as caught:
        body()
    return str(caught.value)


def with_column(hint: Any, field: Any = WORDS, *, name: str = "it", base: type = Silver) -> Any:
    """A contract `Things` of one column, as a file would write it."""
    return type(base)(
        "Things", (base,), {"__doc__": "One row per thing.", "__annotations__": {name: hint}, name: field}
    )


class Line(Struct):
    sku: str = column("Product code")
    price: Gbp = column("Price of a piece", nullable=True)


class Goods(Silver):
    """One row per good.

    Source: made up.
    """

    code: str = column("Code", key=True, str_matches=r"^[A-Z]")
    size: int = column("Centimetres", nullable=True, ge=1, le=9)
    price: Gbp = column("Price")
    sold_at: Utc = column("When")
    lines: list[Line] = column("Its lines", nullable=True)

    @check
    def big_ones_cost_more() -> pl.Expr:
        """Above five they cost more than one."""
        return (pl.col("size") <= 5) | (pl.col("price") > 1)


# ---- what follows from a contract ----


def test_a_contract_says_its_schema_key_grain_and_layer():
    assert schema_of(Goods) == pl.Schema(
        {
            "code": pl.String(),
            "size": pl.Int64(),
            "price": pl.Decimal(38, 3),
            "sold_at": pl.Datetime("us", "UTC"),
            "lines": pl.List(pl.Struct({"sku": pl.String(), "price": pl.Decimal(38, 3)})),
        }
    )
    assert (key_of(Goods), grain_of(Goods), layer_of(Goods)) == (["code"], "One row per good.", "silver")
    assert [(each.name, each.description) for each in row_checks_of(Goods)] == [
        ("big_ones_cost_more", "Above five they cost more than one.")
    ]


def test_a_column_says_unit_null_key_and_the_fields_of_its_structs():
    by_name = {each.name: each for each in columns_of(Goods)}
    assert [(each.unit, each.nullable, each.key) for each in by_name.values()] == [
        (None, False, True),
        (None, True, False),
        ("GBP", False, False),
        ("UTC", False, False),
        (None, True, False),
    ]
    assert [(each.name, each.unit, each.nullable) for each in by_name["lines"].fields] == [
        ("sku", None, False),
        ("price", "GBP", True),
    ]
    assert by_name["size"].bounds == ("ge", "le")


@pytest.mark.parametrize(
    ("hint", "dtype"),
    [
        (str, pl.String()),
        (int, pl.Int64()),
        (float, pl.Float64()),
        (bool, pl.Boolean()),
        (dt.date, pl.Date()),
        (Int32, pl.Int32()),
        (Annotated[Decimal, Measure(pl.Decimal(10, 2), "EUR")], pl.Decimal(10, 2)),
        (Annotated[bytes, Measure(pl.Binary())], pl.Binary()),
        (list[str], pl.List(pl.String())),
        (list[list[Gbp]], pl.List(pl.List(pl.Decimal(38, 3)))),
        (Line, pl.Struct({"sku": pl.String(), "price": pl.Decimal(38, 3)})),
    ],
)
def test_an_annotation_is_the_polars_type_that_pandera_checks(hint: Any, dtype: pl.DataType):
    contract = with_column(hint)
    assert schema_of(contract)["it"] == dtype
    assert contract.to_schema().columns["it"].dtype.type == dtype


# ---- pandera alone ----


def goods(**changed: Any) -> pl.DataFrame:
    row = {
        "code": "A",
        "size": 3,
        "price": Decimal(1),
        "sold_at": dt.datetime(2024, 5, 1, tzinfo=dt.UTC),
        "lines": None,
    }
    return pl.DataFrame([row | changed], schema=schema_of(Goods))


def test_pandera_alone_accepts_a_frame_that_keeps_the_contract():
    assert Goods.validate(goods()).equals(goods())


@pytest.mark.parametrize("wrong", [{"code": "a"}, {"code": None}, {"size": 0}, {"size": 9, "price": Decimal("0.5")}])
def test_pandera_alone_refuses_a_frame_that_breaks_the_contract(wrong: dict[str, Any]):
    with pytest.raises(pandera.errors.SchemaError):
        Goods.validate(goods(**wrong))


def test_pandera_alone_refuses_another_order_and_other_columns():
    for frame in (goods().select(pl.all().reverse(), x=1), goods().select(reversed(goods().columns))):
        with pytest.raises(pandera.errors.SchemaError):
            Goods.validate(frame)


# ---- names ----


class Named(Silver):
    """One row per name that our own code might have taken."""

    key: str = column("Key", key=True)
    layer: str = column("Layer")
    schema: str = column("Schema")
    columns: int = column("Columns", ge=1)
    name: str = column("Name")
    text: str = column("Text")
    check: str = column("Check")
    grain: str = column("Grain")
    unit: str = column("Unit")


class Nested(Struct):
    columns: str = column("Columns")
    validate: str = column("Validate")


def test_columns_may_be_called_like_our_own_words():
    assert list(schema_of(Named)) == ["key", "layer", "schema", "columns", "name", "text", "check", "grain", "unit"]
    row = pl.DataFrame([["a"] * 3 + [1] + ["a"] * 5], schema=schema_of(Named), orient="row")
    assert Named.validate(row).equals(row)
    with pytest.raises(pandera.errors.SchemaError):
        Named.validate(row.with_columns(columns=pl.lit(0, pl.Int64)))
    assert schema_of(with_column(Nested))["it"] == pl.Struct({"columns": pl.String(), "validate": pl.String()})


# ---- files with postponed annotations ----


def loaded(source: str, name: str) -> ModuleType:
    module = ModuleType(name)
    sys.modules[name] = module
    try:
        exec(compile(dedent(source), name, "exec"), vars(module))
    finally:
        del sys.modules[name]
    return module


def test_annotations_may_be_postponed_and_a_column_called_like_its_type():
    module = loaded(
        """
        from __future__ import annotations
        from datetime import date
        from lakehouse import Silver, Struct, column

        class Stop(Struct):
            date: date = column("When")

        class Trips(Silver):
            '''One row per trip.'''
            date: date = column("When", key=True)
            stops: list[Stop] = column("Where")
        """,
        "trips",
    )
    assert schema_of(module.Trips) == {"date": pl.Date(), "stops": pl.List(pl.Struct({"date": pl.Date()}))}


def test_a_column_that_hides_its_type_is_told_so():
    sentence = refused(
        lambda: loaded(
            """
            from datetime import date
            from lakehouse import Silver, column

            class Trips(Silver):
                date: date = column("When")
            """,
            "trips",
        )
    )
    assert sentence == (
        "Trips.date: a column of that name hides its type from Python; import the type under another name, "
        "as in `import datetime as dt` and `date: dt.date`."
    )


# ---- inheritance ----


class Sent(Silver):
    """One row per thing that came from somewhere."""

    sent_by: str = column("Which system", key=True, isin=["erp", "web"])

    @check
    def somebody_sent_it() -> pl.Expr:
        return pl.col("sent_by") != ""


class Parcels(Sent):
    """One row per parcel."""

    parcel: int = column("Number", key=True, ge=1)

    @check
    def web_parcels_are_small() -> pl.Expr:
        return (pl.col("sent_by") == "erp") | (pl.col("parcel") < 100)


class Insured(Line):
    worth: Gbp = column("Insured sum")


def test_a_contract_has_the_columns_and_checks_of_its_base_first():
    assert list(schema_of(Parcels)) == ["sent_by", "parcel"]
    assert [each.name for each in row_checks_of(Parcels)] == ["somebody_sent_it", "web_parcels_are_small"]
    assert (key_of(Parcels), grain_of(Parcels)) == (["sent_by", "parcel"], "One row per parcel.")
    assert list(schema_of(Sent)) == ["sent_by"]
    assert list(schema_of(with_column(Insured))["it"].to_schema()) == ["sku", "price", "worth"]  # type: ignore[union-attr]


@pytest.mark.parametrize(("sent_by", "parcel"), [("fax", 1), ("erp", 0), ("web", 100), ("", 1)])
def test_pandera_alone_asks_inherited_bounds_and_checks(sent_by: str, parcel: int):
    frame = pl.DataFrame({"sent_by": ["erp"], "parcel": [1]})
    assert Parcels.validate(frame).equals(frame)
    with pytest.raises(pandera.errors.SchemaError):
        Parcels.validate(pl.DataFrame({"sent_by": [sent_by], "parcel": [parcel]}))


def test_a_docstring_is_not_inherited():
    bare: Any = type(Silver)("Bare", (Sent,), {"__annotations__": {"it": int}, "it": WORDS})
    assert grain_of(bare) == ""


def test_an_inherited_column_is_not_declared_again():
    assert refused(lambda: with_column(str, name="Sent_By", base=Sent)) == (
        "Things.Sent_By: sent_by is declared already, and Delta does not tell case apart."
    )


def test_a_contract_derives_from_one():
    assert refused(lambda: type(Silver)("Both", (Parcels, Gold), {"__annotations__": {}})) == (
        "Both derives from Parcels, Gold; a contract or a Struct derives from one."
    )


def test_a_contract_has_a_layer():
    assert refused(lambda: contract(Contract)) == (
        "Things is neither Bronze, Silver nor Gold; derive it from one of the three."
    )


# ---- refusals of a column ----

ANNOTATIONS = {
    "a bare Decimal": (Decimal, "bare Decimal has no scale; use an alias such as Gbp"),
    "a bare datetime": (dt.datetime, "bare datetime has no zone; use Utc."),
    "X | None": (int | None, "`X | None` makes a column optional in pandera, not nullable; write `X` with column("),
    "a list of X | None": (list[int | None], "`X | None` makes a column optional in pandera"),
    "a dict": (dict[str, int], "dict[str, int] is no column type; use str, int, float, bool, date, Gbp"),
    "an unparametrised list": (list, "list is no column type; use str"),
    "a Python class": (Callable, "is no column type"),
    "a Polars type": (
        pl.Int16(),
        "Int16 is no column type; a Polars type goes into an alias: Annotated[…, Measure(Int16)].",
    ),
    "a class for a Polars type": (Annotated[int, Measure(pl.Int16)], "holds no Polars type; write pl.Int16(), not"),  # type: ignore[arg-type]
    "an alias of nothing": (Annotated[int, "pieces"], "is no column type; use str"),
}


@pytest.mark.parametrize(("hint", "sentence"), ANNOTATIONS.values(), ids=list(ANNOTATIONS))
def test_an_annotation_that_pandera_would_misread_is_refused(hint: Any, sentence: str):
    told = refused(lambda: with_column(hint))
    assert told.startswith("Things.it: ")
    assert sentence in told


COLUMNS = {
    "no column()": (str, None, "Things.it has no description; write `it: … = column('what it is')`."),
    "a plain value": (str, "x", "Things.it has no description; write `it: … = column('what it is')`."),
    "pandera's own Field": (str, pa.Field(ge=1), "Things.it has no description; write `it: … = column('what it is')`."),
    "no words": (str, column(""), "Things.it has no description; write `it: … = column('what it is')`."),
    "a key that may be null": (
        str,
        column("It", key=True, nullable=True),
        "Things.it is a key and nullable; a row without its key names nothing.",
    ),
    "a nested key": (
        list[int],
        column("It", key=True),
        "Things.it is a key and List(Int64); a key is made of plain values.",
    ),
    "text of a typed column": (
        int,
        column("It", text=number_text(",")),
        "Things.it: text= says how bronze text is written; a silver column is typed already.",
    ),
    "an old name of a typed column": (
        str,
        column("It", was="that"),
        "Things.it: was= says how a source called it before; a silver column is named by its own table.",
    ),
    "a bound of another type": (
        str,
        column("It", ge=1),
        "Things.it: ge= cannot be asked of String: cannot compare string",
    ),
    "a bound on text for a number": (
        int,
        column("It", str_matches="x"),
        "Things.it: str_matches= cannot be asked of Int64: ",
    ),
}


@pytest.mark.parametrize(("hint", "field", "sentence"), COLUMNS.values(), ids=list(COLUMNS))
def test_a_column_that_cannot_work_is_refused(hint: Any, field: Any, sentence: str):
    assert refused(lambda: with_column(hint, field)).startswith(sentence)


def test_where_two_bounds_are_as_near_both_are_named():
    said = refused(lambda: column("It", gte=0))  # type: ignore[call-arg]
    assert said.startswith("column(…, gte=…): no such bound; did you mean 'ge' or 'gt'?")


def test_an_old_name_is_no_other_columns_and_no_fields():
    def twice() -> None:
        class Twice(Bronze):
            """One row per thing."""

            it: str = column("It")
            that: str = column("That", was="it")

    def inside() -> None:
        class Inside(Struct):
            it: str = column("It", was="that")

    assert refused(twice) == "Twice: 'it' would be two columns, by name and by was=."
    assert refused(inside) == "Inside.it: was= renames a column of a bronze table, not a field of a Struct."


def test_a_bound_that_does_not_exist_is_refused_with_the_nearest_one():
    assert refused(lambda: column("It", is_in=[1])).startswith(  # type: ignore[call-arg]
        "column(…, is_in=…): no such bound; did you mean 'isin'? Bounds are eq, ge, gt, in_range, isin, le, lt, ne, "
    )
    # pandera's Field would take these, and nothing would ask them
    for word in ("unique", "coerce", "alias", "regex"):
        said: dict[str, Any] = {word: True}
        assert refused(lambda said=said: column("It", **said)).startswith(f"column(…, {word}=…): no such bound")


NAMES = {
    "_row": "Things._row: a column's name may not begin with '_' (pandera drops it silently).",
    "größe": "Things.größe: a column's name has the letters A to Z only; its asset checks are named after it.",
    "validate": "Things.validate: 'validate' is a word of pandera's models; name the column otherwise.",
    "to_schema": "Things.to_schema: 'to_schema' is a word of pandera's models; name the column otherwise.",
    "Config": "Things.Config: 'Config' is a word of pandera's models; name the column otherwise.",
}


@pytest.mark.parametrize(("name", "sentence"), NAMES.items(), ids=list(NAMES))
def test_a_name_that_cannot_be_kept_is_refused(name: str, sentence: str):
    assert refused(lambda: with_column(str, name=name)) == sentence


def test_a_text_format_that_does_not_fit_its_type_is_refused():
    assert refused(lambda: with_column(int, column("It", text=date_text("%d.%m.%Y")), base=Bronze)) == (
        "Things.it: Int64 is not written as date as %d.%m.%Y; change its type or its text=."
    )
    assert schema_of(with_column(list[dt.date], column("It", text=date_text("%d.%m.%Y")), base=Bronze)) == {
        "it": pl.List(pl.Date())
    }


# ---- refusals of a contract ----


def contract(base: type = Silver, **members: Any) -> Any:
    hints = {"__annotations__": {"it": int}, "it": WORDS}
    return type(base)("Things", (base,), {"__doc__": "One row per thing.", **hints, **members})


@check
def is_positive() -> pl.Expr:
    return pl.col("it") > 0


CONTRACTS = {
    "no column": (
        lambda: type(Silver)("Things", (Silver,), {"__doc__": "One."}),
        "Things declares no column; write at least one `name: type = column('…')`.",
    ),
    "a column without a type": (
        lambda: contract(amount=WORDS),
        "Things.amount is neither a column nor a @check; write `amount: type = column('…')`, or move it out",
    ),
    "pandera's own check": (
        lambda: contract(asked=pa.check("it")(lambda cls, data: True)),
        "Things.asked is neither a column nor a @check; ",
    ),
    "a Config of its own": (
        lambda: contract(Config=type("Config", (), {})),
        "Things.Config is neither a column nor a @check; ",
    ),
    "a static method": (lambda: contract(helps=staticmethod(print)), "Things.helps is neither a column nor a @check; "),
    "bounds on bronze": (
        lambda: contract(Bronze, it=column("It", ge=1)),
        (
            "Things is a bronze contract and declares bounds, keys or checks on it. "
            "Bronze keeps what arrived; declare them on the silver table that reads it."
        ),
    ),
    "a key on bronze": (
        lambda: contract(Bronze, it=column("It", key=True)),
        "Things is a bronze contract and declares bounds",
    ),
    "a check on bronze": (
        lambda: contract(Bronze, is_positive=is_positive),
        "Things is a bronze contract and declares bounds",
    ),
    "a check on an unknown column": (
        lambda: contract(asks=check(lambda: pl.col("is") > 0)),
        "Things.asks asks for column 'is', which the contract does not declare (it declares it).",
    ),
    "a check that is no expression": (
        lambda: contract(asks=check(lambda: True)),  # type: ignore[arg-type, return-value]
        "Things.asks: a @check returns an expression, not bool.",
    ),
    "a check that says no truth": (
        lambda: contract(asks=check(lambda: pl.col("it"))),
        "Things.asks says Int64; a @check is one true or false for a row.",
    ),
    "a check that says two": (
        lambda: contract(__annotations__={"it": int, "at": int}, at=WORDS, asks=check(lambda: pl.all() > 0)),
        "Things.asks says Boolean, Boolean; a @check is one true or false for a row.",
    ),
    "a check of another type": (
        lambda: contract(asks=check(lambda: pl.col("it").str.starts_with("x"))),
        "Things.asks cannot be asked of its columns: expected String type, got: i64",
    ),
}


@pytest.mark.parametrize(("make", "sentence"), CONTRACTS.values(), ids=list(CONTRACTS))
def test_a_contract_that_cannot_work_is_refused(make: Callable[[], object], sentence: str):
    assert refused(make).startswith(sentence)


def test_a_struct_asks_nothing_of_its_fields():
    for field in (column("It", key=True), column("It", ge=1)):
        sentence = refused(lambda field=field: type("Part", (Struct,), {"__annotations__": {"it": int}, "it": field}))
        assert sentence.startswith("Part.it: keys and bounds are not asked inside a Struct")
    assert refused(lambda: type("Part", (Struct,), {})) == (
        "Part declares no column; write at least one `name: type = column('…')`."
    )

"""Order documents, each a file of its own (gzip JSON lines)."""

from benchmarks.documents.tables.graph import SentOrders
from benchmarks.generated import A_DOCUMENT
from lakehouse import Append, Files, Frame, JsonLines, table


class SentSingly(SentOrders):
    """One row per order document, as the ERP sent it."""


@table(source=Files(A_DOCUMENT.format(day="*", number="*"), formats=JsonLines()), write=Append())
def sent_singly() -> Frame[SentSingly]: ...

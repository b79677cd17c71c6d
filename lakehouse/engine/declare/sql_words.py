"""Words that SQL keeps for itself: a column of such a name has to be quoted by everyone who reads it."""

from __future__ import annotations

_WORDS = """
add all alter analyse analyze and any array as asc asymmetric authorization backup begin between both break browse
bulk by cascade case cast check checkpoint close clustered coalesce collate column commit compute constraint
contains containstable continue convert create cross current current_date current_time current_timestamp
current_user cursor database dbcc deallocate declare default deferrable delete deny desc describe disk distinct
distributed do double drop dump else end errlvl escape except exec execute exists exit external false fetch file
fillfactor for foreign freetext freetexttable from full function goto grant group having holdlock identity
identity_insert identitycol if in index initially inner insert intersect into is join key kill lambda lateral
leading left like limit lineno load merge national nocheck nonclustered not null nullif of off offset offsets on
only open opendatasource openquery openrowset openxml option or order outer over percent pivot pivot_longer
pivot_wider placing plan precision primary print proc procedure public qualify raiserror read readtext reconfigure
references replication restore restrict return returning revert revoke right rollback rowcount rowguidcol rule save
schema securityaudit select semantickeyphrasetable semanticsimilaritydetailstable semanticsimilaritytable
session_user set setuser show shutdown some statistics summarize symmetric system_user table tablesample textsize
then to top trailing tran transaction trigger true truncate try_convert tsequal union unique unpivot update
updatetext use user using values variadic varying view waitfor when where while window with writetext
"""

SQL_WORDS = frozenset(_WORDS.split())
"""Those of T-SQL (Synapse, Fabric) and of DuckDB, which has PostgreSQL's; Spark keeps fewer."""

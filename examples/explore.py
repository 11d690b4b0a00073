# %% [markdown]
# # A lake, explored
#
# The percent format: editors and Jupyter open this file as a notebook, and Python runs it as it is:
#
#     .venv/bin/python examples/explore.py .heliograph/live/vendor.toml

# %%
"""Explores a lake: what people come back for, who stays, and what a query of one's own finds."""

import sys

import duckdb

from heliograph.explore import open_lake

# In a notebook: lake = open_lake("vendor.toml")
lake = open_lake(sys.argv[1] if len(sys.argv) > 1 else None)

# %% [markdown]
# An answer shows its figures, what they mean, and what to know before relying on them.

# %%
answer = lake.ask("stickiest", top=3)
print(answer.question, answer.definition, sep="\n")
print(answer.as_csv())

# %% [markdown]
# Every metric is an Arrow table, which pandas, Polars and DuckDB read without a copy.

# %%
retention = lake.metric("retention", by="everyone", kind="unbounded", days=(1, 7, 28))
best = duckdb.sql("SELECT from_day, round(sum(retained) / sum(eligible), 3) AS share FROM retention GROUP BY ALL")
print(best)

# %% [markdown]
# SQL reads the marts. They can hold several rows of one key: counts are summed, and rows are never counted.

# %%
busiest = lake.sql("SELECT account, sum(events)::BIGINT AS events FROM instance_days GROUP BY account ORDER BY account")
for row in busiest.to_pylist():
    print(f"{row['account']:20} {row['events']:>10,}")

# %% [markdown]
# A question that nobody has asked before is an expression of Ibis on the same tables.

# %%
days = lake.tables.user_feature_days
by_feature = days.group_by("feature").agg(users=days.user_id.nunique()).order_by("feature")
print(by_feature.to_pyarrow().to_pylist())

# %%
lake.close()

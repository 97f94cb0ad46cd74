"""Markdown tables of measured results, one function for each table; `benchmarks/table.py` puts them into the documents."""

"""A library of sounds: embedded once, kept as Parquet, searched and read by other tools. Begin at `library`.

manifest    what a library holds and which model made it: `library.json`
schema      columns of the rows and of the failures
store       the folder: immutable parts, read by anyone, written by one
roots       the folders that the sounds come from: `roots.json`
commits     the log that makes a change of several files one change
search      search: derived files, exact scan, filters, names
library     `Library` and `open_library`, what callers use
"""

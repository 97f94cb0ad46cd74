"""Search of a library: derived files that may be deleted at any time, exact scan, filters, names, approximate index.

searcher     a query's hits, from all of the below
request      one search, and the options of all
query        texts, sounds and vectors to one unit vector
hits         what a search gives, with facts and windows
sound_vectors one vector for each sound, and sounds by their ids
exports      hits as a playlist, a table, a folder of links or copies
derived      the files under `LIBRARY/index`: brought up to date as parts come and go
derived_part one part of the library in the form that searches need
signature    what a file was when it was written
snapshot     those files, opened
scan         exact nearest rows through int8 codes with a bound on their error
approximate  an index for large libraries, by faiss, with its recall measured
filters      `where`: conditions on columns, by DuckDB
names        words in paths, by SQLite's full-text search
"""

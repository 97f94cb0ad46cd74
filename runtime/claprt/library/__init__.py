"""A library of sounds: embedded once, kept as Parquet, searched and read by other tools.

    library        `Library` and `open_library`, what callers use
    tables         all rows or failures as Arrow's tables and batches
    own_model      the model of a library, named and loaded again
    create         `index`: a library is made, or added to
    maintenance    a library as a whole: pruned, compacted, merged with others
    search         search: derived files, exact scan, filters, names
    duplicates     sounds that are there more than once
    clusters       groups of sounds that are alike
    sound_map      a page with all sounds as points
    sources        what is to be indexed: folders, patterns, lists, URLs
    archives       sounds within tar shards
    sound_tables   sounds within Parquet and Arrow files
    remote         sounds of other machines, through fsspec
    items          where a sound lies, and its content
    paths          `path` and `id` of a sound
    indexing       one run: what is new or changed, units of work
    embedding      from sounds to vectors, in this process
    workers        the same in several processes; `worker` is one of them, `frames` their messages
    ray_data       the same on Ray Data
    claims         each content is embedded once
    units          sounds that are committed together, and their tables
    unit_writer    units are written beside the embedding
    upkeep         sounds that were touched, that vanished
    known          what the library holds already, in memory
    progress       counts of a run
    store          the folder: immutable parts, read by anyone, written by one
    roots          the folders that the sounds come from: `roots.json`
    commits        the log that makes a change of several files one change
    schema         columns of the rows and of the failures
    manifest       what a library holds and which model made it: `library.json`

Begin at `library`, and at `indexing`.
"""

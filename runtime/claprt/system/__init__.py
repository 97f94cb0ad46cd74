"""The process and the machine it runs on.

    advice          warnings about assumptions, each once in a process
    atomic          files and folders that appear whole or not at all
    cache_folder    the folder of prepared graphs, exports and digests
    extras          optional packages, and the command that installs them
    foreign_errors  messages of other libraries and programs, made printable
    forks           what a forked child must not use of its parent
    locks           locks between processes, which go with the process that holds them
    native          the shared library of claprt-native
    telemetry       telemetry of the libraries that run graphs, switched off
    terminal        text output: encodings, closed streams, columns

Imports `errors` at most.
"""

"""Sound files: recognised by their first bytes, refused where they are not whole.

    sound_file        opens a file: what it is, and who reads it
    folders           which files of a folder are sounds
    containers        recognition by the first bytes
    magic             table of those bytes
    byte_source       path, bytes, file object or pipe as one file that can seek
    binary            such a file, for libraries with callbacks
    libsndfile        blocks of samples through libsndfile
    chunks            length that RIFF, AIFF, CAF and the like state
    chunked           place of their samples
    stated_lengths    length that headers of older formats state
    flac              FLAC without a false number of samples
    ogg               streams of an Ogg file
    mpeg              headers of MPEG frames, tags
    mpeg_stream       the frames of an MPEG file
    media             containers that FFmpeg reads (PyAV)

docs/formats.md has the rules of each format.
"""

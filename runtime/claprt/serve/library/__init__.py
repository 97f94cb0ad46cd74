"""Serving a library of sounds: searches, the sounds themselves, and a page. Imported only with `--library`.

    interface    what is needed of a library
    adapter      the same from `claprt.open_library`
    search       searches and look-ups of many clients, each in turn
    files        which files may be served, and whether they are still what was indexed
    playable     their content as browsers play it
    ranges       parts of it (HTTP range requests)
    peaks        outlines of waveforms
    schemas      shapes of requests and replies
    routes       the endpoints
    page         the page at `/library`, whose files are in `static`
    errors       errors of these endpoints, with their HTTP status

docs/service-api.md describes the endpoints.
"""

"""Files that go into a run and files that come out of it.

    formats        the table of file formats: names, types, extensions, signatures, what can be done with each
    containers     bytes at a place, and one bounded walker of boxes, elements and chunks
    sniff          the format by the first bytes
    identify       the format by tracks, pages and what follows tags; whether a file is cut off
    measure        size and duration from headers
    decode, jpeg   pictures opened with Pillow, with the limits of memory and pixels; tiff: their pages
    convert        pictures converted to what a provider accepts; damaged and hostile ones refused
    previews       small copies of saved pictures
    input_files    what a media argument names: a local file, a URL, or the bytes themselves
    source_kinds   which way of naming a file a text is; pure
    local_files    reading only the local files that may be read, unchanged since they were checked
    data_uris      the bytes inside a data URI
    saving         names and safe writing of saved outputs
    errors         the refusal of one argument, and how much of the argument it repeats

Everything here is synchronous and most of it blocks on the disk: callers run it on threads with a limiter of their own.
"""

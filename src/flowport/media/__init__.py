"""Files that go into a run and files that come out of it.

    formats        the table of file formats, and the format by the first bytes
    containers     bytes at a place, and one bounded walker of boxes, elements and chunks
    identify       the format by tracks, pages and what follows tags; whether a file is cut off
    measure        size and duration from headers
    decode         pictures opened with Pillow, with the limits of memory and pixels
    tiff           the pages of a TIFF
    convert        pictures converted to what a provider accepts; damaged and hostile ones refused
    previews       small copies of saved pictures
    input_files    what a media argument names: a local file, a URL, or the bytes themselves
    source_kinds   which way of naming a file a text is; pure
    sources        the bytes: of local files that may be read and are unchanged, and inside data URIs
    saving         names and safe writing of saved outputs

Everything here is synchronous and most of it blocks on the disk: callers run it on threads with a limiter of their own.
"""

"""Files that go into a run and files that come out of it.

    identifying    what a file is, by all of it that tells: `sniffing` by its first bytes (`signatures` lists them),
                   `tracks` by what a container holds, `tiff` by its pages
    completeness   whether a file says itself that it was cut off
    arguments      what a media argument of a call names: a file here, a URL, or the bytes themselves
    sources        where the bytes of a file come from when they are needed, and that they are still the same
    converting     pictures made into what a provider takes; damaged and hostile ones refused
    spellings      which of the many ways to name a file a text is; pure
    local_files    reading a file of this computer, and only one that may be read
    data_uris      the bytes inside a data URI
    refusals       the one error of this package, and how much of an argument may be repeated in it
    saving         names and safe writing of saved outputs
    measuring      how large a picture and how long a sound is, by its header: `measures` is what they all answer,
                   `boxes`, `matroska` and `sounds` read the formats that the image library does not
    previews       small copies of saved pictures

Everything here is synchronous and most of it blocks on the disk: callers run it on threads with a limiter of their own.
"""

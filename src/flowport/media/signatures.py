"""The beginnings by which files are known, and what those are called that are known but not sent. Data alone.

Sources: the specification of each format; for brands mp4ra.org; for raw photos the sources of LibRaw and ExifTool.
"""

from dataclasses import dataclass
from typing import Final

from flowport.domain.models import OutputKind


@dataclass(frozen=True, slots=True)
class Sniffed:
    """What a file is."""

    mime_type: str
    kind: OutputKind
    extension: str
    """Without the dot."""
    unsent_name: str = ""
    """What it is called where it is refused as an input, as "AIFF sound"; empty for what can be sent."""

    @property
    def is_media(self) -> bool:
        """Whether it is a picture, a video or sound."""
        return self.kind in {OutputKind.IMAGE, OutputKind.VIDEO, OutputKind.AUDIO}


RAW_PHOTO: Final = "raw photo of a camera"
"""The name of all of them: each holds small copies of its picture, which must not go out in its place."""


def image(subtype: str, extension: str, unsent_name: str = "") -> Sniffed:
    """Return a picture format."""
    return Sniffed(f"image/{subtype}", OutputKind.IMAGE, extension, unsent_name)


def video(subtype: str, extension: str, unsent_name: str = "") -> Sniffed:
    """Return a format of moving pictures."""
    return Sniffed(f"video/{subtype}", OutputKind.VIDEO, extension, unsent_name)


def audio(subtype: str, extension: str, unsent_name: str = "") -> Sniffed:
    """Return a format of sound."""
    return Sniffed(f"audio/{subtype}", OutputKind.AUDIO, extension, unsent_name)


def raw_photo(subtype: str, extension: str) -> Sniffed:
    """Return a maker's format of raw photos."""
    return image(f"x-{subtype}", extension, RAW_PHOTO)


def other(mime_type: str, extension: str, unsent_name: str = "") -> Sniffed:
    """Return a format that is no medium, or one that can carry a program."""
    return Sniffed(mime_type, OutputKind.FILE, extension, unsent_name)


TIFF: Final = image("tiff", "tif")
BMP: Final = image("bmp", "bmp")
ICON: Final = image("vnd.microsoft.icon", "ico", "icon with pictures of several sizes")
CURSOR: Final = image("x-win-bitmap", "cur", "cursor")
MP3: Final = audio("mpeg", "mp3")
MP2: Final = audio("mpeg", "mp2", "MPEG sound of an older kind (MP2)")
AAC: Final = audio("aac", "aac")
AC3: Final = audio("ac3", "ac3", "Dolby Digital sound")
AVIF: Final = image("avif", "avif")
HEIC: Final = image("heic", "heic")
MP4: Final = video("mp4", "mp4")
MOV: Final = video("quicktime", "mov")
M4V: Final = video("x-m4v", "m4v")
GP3: Final = video("3gpp", "3gp")
M4A: Final = audio("mp4", "m4a")
GP3_SOUND: Final = audio("3gpp", "3gp")
WEBM: Final = video("webm", "webm")
WEBM_SOUND: Final = audio("webm", "weba")
MATROSKA: Final = video("x-matroska", "mkv")
MATROSKA_SOUND: Final = audio("x-matroska", "mka")
OGG: Final = audio("ogg", "ogg")
OGG_VIDEO: Final = video("ogg", "ogv")
AVI: Final = video("x-msvideo", "avi")
AVI_SOUND: Final = audio("x-msvideo", "avi")
WMV: Final = video("x-ms-wmv", "wmv", "Windows Media video")
WMA: Final = audio("x-ms-wma", "wma", "Windows Media sound")
FLV: Final = video("x-flv", "flv", "Flash video")
FLV_SOUND: Final = audio("x-flv", "flv", "sound in a Flash video")
MPEG: Final = video("mpeg", "mpg", "MPEG video (VOB, MPG or MOD)")
MPEG_SOUND: Final = audio("mpeg", "mpg", "sound in an MPEG stream")
TRANSPORT: Final = video("mp2t", "ts", "MPEG transport stream (AVCHD, MTS or TS)")
TRANSPORT_SOUND: Final = audio("mp2t", "ts", "sound in an MPEG transport stream")
TARGA: Final = image("x-tga", "tga", "Targa picture")
FUJI_RAW: Final = raw_photo("fuji-raf", "raf")
CANON_RAW: Final = raw_photo("canon-cr2", "cr2")
CANON_RAW_3: Final = raw_photo("canon-cr3", "cr3")
PHASE_ONE_RAW: Final = raw_photo("phaseone-iiq", "iiq")
ADOBE_RAW: Final = raw_photo("adobe-dng", "dng")
_PANASONIC_RAW: Final = raw_photo("panasonic-rw2", "rw2")
_OLYMPUS_RAW: Final = raw_photo("olympus-orf", "orf")
POSTSCRIPT: Final = Sniffed("application/postscript", OutputKind.TEXT, "eps", "PostScript drawing (EPS)")
"""Saved as a text is: it is a program."""
REAL_VIDEO: Final = video("vnd.rn-realmedia", "rm", "RealMedia video")
REAL_SOUND: Final = audio("vnd.rn-realaudio", "rm", "RealAudio sound")
_FLASH: Final = other("application/x-shockwave-flash", "swf", "Flash animation")
_H264: Final = video("h264", "h264", "video without a container (H.264)")
_HEVC: Final = video("h265", "h265", "video without a container (H.265)")
ZIP: Final = other("application/zip", "zip")
_GLB: Final = other("model/gltf-binary", "glb")

MAKERS: Final = {
    "nikon": raw_photo("nikon-nef", "nef"),
    "canon": CANON_RAW,
    "sony": raw_photo("sony-arw", "arw"),
    "pentax": raw_photo("pentax-pef", "pef"),
    "ricoh": raw_photo("pentax-pef", "pef"),
    "samsung": raw_photo("samsung-srw", "srw"),
    "olympus": _OLYMPUS_RAW,
    "panasonic": _PANASONIC_RAW,
    "leica": raw_photo("leica-rwl", "rwl"),
    "hasselblad": raw_photo("hasselblad-3fr", "3fr"),
    "phase one": PHASE_ONE_RAW,
    "leaf": raw_photo("leaf-mos", "mos"),
    "mamiya": raw_photo("mamiya-mef", "mef"),
    "epson": raw_photo("epson-erf", "erf"),
    "seiko epson": raw_photo("epson-erf", "erf"),
    "kodak": raw_photo("kodak-dcr", "dcr"),
    "eastman kodak": raw_photo("kodak-dcr", "dcr"),
}
"""Raw photos that are TIFF files, by how the maker's name begins in lower case."""

MAGICS: Final[tuple[tuple[bytes, Sniffed], ...]] = (
    (b"\x89PNG\r\n\x1a\n", image("png", "png")),
    (b"\xff\xd8\xff", image("jpeg", "jpg")),
    (b"GIF87a", image("gif", "gif")),
    (b"GIF89a", image("gif", "gif")),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (b"MM\0+", TIFF),
    (b"IIU\0", _PANASONIC_RAW),
    (b"\0MRM", raw_photo("minolta-mrw", "mrw")),
    (b"II\x1a\0\0\0HEAPCCDR", raw_photo("canon-crw", "crw")),
    (b"\0\xffKA", image("x-affinity", "afphoto", "Affinity document")),
    (b"\0\0\0\x0cJXL \r\n\x87\n", image("jxl", "jxl", "JPEG XL picture")),
    (b"\0\0\0\x0cjP  \r\n\x87\n", image("jp2", "jp2", "JPEG 2000 picture")),
    (b"\xff\x4f\xff\x51", image("jp2", "j2k", "JPEG 2000 picture")),
    (b"II\xbc\x01", image("jxr", "jxr", "JPEG XR picture")),
    (b"BPG\xfb", image("bpg", "bpg", "BPG picture")),
    (b"\x76\x2f\x31\x01", image("x-exr", "exr", "OpenEXR picture")),
    (b"\x8aMNG\r\n\x1a\n", video("x-mng", "mng", "MNG animation")),
    (b"\x8bJNG\r\n\x1a\n", image("x-jng", "jng", "JNG picture")),
    (b"\xd7\xcd\xc6\x9a", other("image/wmf", "wmf", "Windows metafile")),
    (b"SIMPLE  =", image("fits", "fits", "FITS picture")),
    (b"\x80\x2a\x5f\xd7", image("x-cineon", "cin", "Cineon picture")),
    (b"\x0a\x05\x01\x08", image("x-pcx", "pcx", "PCX picture")),
    (b"\x01\xda\x01\x01", image("x-sgi", "sgi", "Silicon Graphics picture")),
    (b"\x01\xda\0\x01", image("x-sgi", "sgi", "Silicon Graphics picture")),
    (b"\x59\xa6\x6a\x95", image("x-sun-raster", "ras", "Sun raster picture")),
    (b"fLaC", audio("flac", "flac")),
    (b"\x02#!SILK", audio("silk", "silk", "SILK sound")),
    (b"caff\0\x01", audio("x-caf", "caf", "Core Audio sound (CAF)")),
    (b".snd\0\0", audio("basic", "au", "AU sound")),
    (b"MThd\0\0\0\x06", audio("midi", "mid", "MIDI file, which holds notes and no sound")),
    (b".ra\xfd", audio("vnd.rn-realaudio", "ra", "RealAudio sound")),
    (b"\x7f\xfe\x80\x01", audio("vnd.dts", "dts", "DTS sound")),
    (b"riff\x2e\x91\xcf\x11", audio("x-w64", "w64", "Wave64 sound")),
    (b"\x02dss", audio("x-dss", "dss", "dictation sound (DSS)")),
    (b"\x03ds2", audio("x-dss", "ds2", "dictation sound (DS2)")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c", WMV),
    (b"FLV\x01", FLV),
    (b"\0\0\x01\xba", MPEG),
    (b"\0\0\x01\xb3", MPEG),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01", video("mxf", "mxf", "MXF video")),
    (b"\x1f\x07\0", video("x-dv", "dv", "DV video")),
    *((b"\0\0\0\1" + unit, _H264) for unit in (b"\x67", b"\x27", b"\x47", b"\x09\x10", b"\x09\xf0")),
    *((b"\0\0\0\1" + unit, _HEVC) for unit in (b"\x40\1", b"\x42\1", b"\x46\1")),
    (b"\0\0\x01\xb0", video("mp4v-es", "mpeg4", "video without a container (MPEG-4)")),
    (b"ea3\x03\0\0\0\0", audio("x-oma", "oma", "ATRAC sound (OMA)")),
    (b"DKIF\0\0", video("x-ivf", "ivf", "IVF video")),
    (b"BBCD\0", video("x-dirac", "drc", "Dirac video")),
    (b"\xc5\xd0\xd3\xc6", other("application/postscript", "eps", "PostScript drawing (EPS)")),
    (b"%PDF-", other("application/pdf", "pdf")),
    (b"glTF\x01\0\0\0", _GLB),
    (b"glTF\x02\0\0\0", _GLB),
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),
)

WEAK_MAGICS: Final[tuple[tuple[bytes, Sniffed], ...]] = (
    (b"IIRO", _OLYMPUS_RAW),
    (b"IIRS", _OLYMPUS_RAW),
    (b"MMOR", _OLYMPUS_RAW),
    (b"FUJIFILMCCD-RAW ", FUJI_RAW),
    (b"FOVb", raw_photo("sigma-x3f", "x3f")),
    (b"MMMMRawT", PHASE_ONE_RAW),
    (b"IIIITwaR", PHASE_ONE_RAW),
    (b"ARRI", raw_photo("arri-ari", "ari")),
    (b"rawzor", raw_photo("rawzor", "rwz")),
    (b"LELR", raw_photo("light-lri", "lri")),
    (b"8BPS", image("vnd.adobe.photoshop", "psd", "Photoshop document")),
    (b"gimp xcf", image("x-xcf", "xcf", "GIMP document")),
    (b"Paint Shop Pro Image File", image("x-paintshoppro", "psp", "Paint Shop Pro document")),
    (b"PDN3", image("x-paintnet", "pdn", "Paint.NET document")),
    (b"CSFCHUNK", image("x-clip-studio", "clip", "Clip Studio document")),
    (b"\xff\x0a", image("jxl", "jxl", "JPEG XL picture")),
    (b"FLIF", image("flif", "flif", "FLIF picture")),
    (b"qoif", image("qoi", "qoi", "QOI picture")),
    (b"icns", image("icns", "icns", "Mac icon with pictures of several sizes")),
    (b"DDS ", image("vnd-ms.dds", "dds", "DirectDraw texture")),
    (b"#?RADIANCE", image("vnd.radiance", "hdr", "Radiance picture")),
    (b"#?RGBE", image("vnd.radiance", "hdr", "Radiance picture")),
    (b"AT&TFORM", image("vnd.djvu", "djvu", "DjVu document")),
    (b"SDPX", image("x-dpx", "dpx", "DPX picture")),
    (b"XPDS", image("x-dpx", "dpx", "DPX picture")),
    (b"#!AMR", audio("amr", "amr", "AMR sound")),
    (b"#!SILK", audio("silk", "silk", "SILK sound")),
    (b"MAC ", audio("x-ape", "ape", "Monkey's Audio sound")),
    (b"wvpk", audio("x-wavpack", "wv", "WavPack sound")),
    (b"TTA1", audio("x-tta", "tta", "True Audio sound")),
    (b"DSD ", audio("x-dsf", "dsf", "DSD sound")),
    (b"FRM8", audio("x-dff", "dff", "DSD sound")),
    (b"MPCK", audio("x-musepack", "mpc", "Musepack sound")),
    (b"MP+", audio("x-musepack", "mpc", "Musepack sound")),
    (b"\x0b\x77", AC3),
    (b"Creative Voice File", audio("x-voc", "voc", "Creative Voice sound")),
    (b"ADIF", audio("x-adif", "aac", "AAC sound without frames (ADIF)")),
    *((start, _FLASH) for start in (b"FWS", b"CWS", b"ZWS")),
    (b".RMF", REAL_VIDEO),
    (b"YUV4MPEG2", video("x-yuv4mpeg", "y4m", "uncompressed YUV4MPEG video")),
)
"""Words that a text may begin with, too; they count only where the file is no text."""

ZIP_TYPES: Final = {
    b"application/x-krita": image("x-krita", "kra", "Krita document"),
    b"image/openraster": image("openraster", "ora", "OpenRaster document"),
}
"""Of archives whose first entry tells their type."""

RIFF_FORMS: Final = {
    b"WEBP": image("webp", "webp"),
    b"WAVE": audio("wav", "wav"),
    b"AVI ": AVI,
    b"RMID": audio("midi", "rmi", "MIDI file, which holds notes and no sound"),
    b"CDDA": audio("x-cda", "cda", "entry of an audio CD, which holds no sound"),
    b"QLCM": audio("qcelp", "qcp", "QCELP sound"),
    b"ACON": image("x-ani", "ani", "animated cursor"),
}
BIG_ENDIAN_WAVE: Final = audio("x-rifx", "wav", "WAV sound of the rare kind RIFX")
FORM_TYPES: Final = {
    b"AIFF": audio("aiff", "aiff", "AIFF sound"),
    b"AIFC": audio("aiff", "aifc", "AIFF sound"),
    b"8SVX": audio("x-8svx", "8svx", "8SVX sound"),
    b"ILBM": image("x-ilbm", "iff", "Amiga picture (ILBM)"),
    b"PBM ": image("x-ilbm", "iff", "Amiga picture (ILBM)"),
}
PORTABLE_PICTURE: Final = image("x-portable-anymap", "pnm", "Netpbm picture (PNM)")
DICOM: Final = image("dicom-rle", "dcm", "medical picture (DICOM)")
ENHANCED_METAFILE: Final = other("image/emf", "emf", "Windows metafile")
RED_VIDEO: Final = video("x-red", "r3d", "raw film of a camera (R3D)")

BRANDS: Final = {
    **dict.fromkeys((b"avif", b"avis"), AVIF),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), HEIC),
    **dict.fromkeys((b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B "), M4A),
    **dict.fromkeys((b"M4V ", b"M4VH", b"M4VP"), M4V),
    **dict.fromkeys((b"3gp4", b"3gp5", b"3gp6", b"3gp7", b"3gp8", b"3gp9", b"3g2a", b"3g2b", b"3g2c"), GP3),
    **dict.fromkeys((b"isom", b"iso2", b"iso3", b"iso4", b"iso5", b"iso6", b"iso7", b"iso8", b"iso9"), MP4),
    **dict.fromkeys((b"mp41", b"mp42", b"avc1", b"dash", b"MSNV", b"f4v ", b"XAVC"), MP4),
    b"qt  ": MOV,
}
STILL_BRANDS: Final = (b"mif1", b"msf1", b"mif2", b"miaf")
"""They say only "a picture in this container": a later brand decides."""

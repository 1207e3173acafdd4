"""The table of file formats, and the recognition of a file by its first bytes, never by its name. Pure.

A container may hold sound alone, which its first bytes do not show: it counts as a video here, and `identify` reads its tracks.

Sources: the specification of each format; for brands mp4ra.org; for raw photos the sources of LibRaw and ExifTool.
"""

import codecs
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from flowport.domain.models import OutputKind

IMAGE, VIDEO, AUDIO, TEXT, FILE = (
    OutputKind.IMAGE,
    OutputKind.VIDEO,
    OutputKind.AUDIO,
    OutputKind.TEXT,
    OutputKind.FILE,
)
MEDIA: Final = frozenset({IMAGE, VIDEO, AUDIO})
RAW_PHOTO: Final = "raw photo of a camera"
"""The name of every raw format: each holds small copies of its picture, which must not be sent instead of it."""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A file format."""

    kind: OutputKind
    mime_type: str
    extension: str
    """Without the dot."""
    name: str = ""
    """As in "AIFF sound"; empty where no message names it."""
    is_sent: bool = False
    """Whether an input accepts it, as it is or converted."""
    decoder: str = ""
    """Pillow's name of the decoder that converts it; empty for none."""
    is_shown: bool = False
    """Whether previews are made of it. Its decoder runs inside Pillow: no external program, no library that trusts the file."""
    structure: str = ""
    """How its parts are stored, for the readers of tracks, size and completeness."""
    sound: str = ""
    """The key of the format that a container becomes when it holds sound alone."""
    magics: tuple[bytes, ...] = ()
    """First bytes that decide at once."""
    patterns: tuple[bytes, ...] = ()
    """Regular expressions for the first bytes."""
    weak_magics: tuple[bytes, ...] = ()
    """First bytes that a text may have too; they count only for files that are not text."""
    brands: tuple[bytes, ...] = ()
    """Brands in the `ftyp` box."""
    makers: tuple[str, ...] = ()
    """How the maker's name begins, in lower case, in a raw photo that is a TIFF file."""

    @property
    def is_media(self) -> bool:
        """Whether it is a picture, a video or sound."""
        return self.kind in MEDIA


# fmt: off
FORMATS: Final[Mapping[str, FileFormat]] = {
    "png": FileFormat(IMAGE, "image/png", "png", "PNG", is_sent=True, decoder="PNG", is_shown=True, magics=(b"\x89PNG\r\n\x1a\n",)),
    "jpg": FileFormat(IMAGE, "image/jpeg", "jpg", "JPEG", is_sent=True, decoder="JPEG", is_shown=True, magics=(b"\xff\xd8\xff",)),
    "gif": FileFormat(IMAGE, "image/gif", "gif", "GIF", is_sent=True, decoder="GIF", is_shown=True, magics=(b"GIF87a", b"GIF89a")),
    "tif": FileFormat(IMAGE, "image/tiff", "tif", "TIFF", is_sent=True, decoder="TIFF", structure="tiff", magics=(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    "rw2": FileFormat(IMAGE, "image/x-panasonic-rw2", "rw2", RAW_PHOTO, magics=(b"IIU\0",), makers=("panasonic",)),
    "mrw": FileFormat(IMAGE, "image/x-minolta-mrw", "mrw", RAW_PHOTO, magics=(b"\0MRM",)),
    "crw": FileFormat(IMAGE, "image/x-canon-crw", "crw", RAW_PHOTO, magics=(b"II\x1a\0\0\0HEAPCCDR",)),
    "afphoto": FileFormat(IMAGE, "image/x-affinity", "afphoto", "Affinity document", magics=(b"\0\xffKA",)),
    "jxl": FileFormat(IMAGE, "image/jxl", "jxl", "JPEG XL picture", magics=(b"\0\0\0\x0cJXL \r\n\x87\n",), weak_magics=(b"\xff\n",)),
    "jp2": FileFormat(IMAGE, "image/jp2", "jp2", "JPEG 2000 picture", magics=(b"\0\0\0\x0cjP  \r\n\x87\n",)),
    "j2k": FileFormat(IMAGE, "image/jp2", "j2k", "JPEG 2000 picture", magics=(b"\xffO\xffQ",)),
    "jxr": FileFormat(IMAGE, "image/jxr", "jxr", "JPEG XR picture", magics=(b"II\xbc\x01",)),
    "bpg": FileFormat(IMAGE, "image/bpg", "bpg", "BPG picture", magics=(b"BPG\xfb",)),
    "exr": FileFormat(IMAGE, "image/x-exr", "exr", "OpenEXR picture", magics=(b"v/1\x01",)),
    "jng": FileFormat(IMAGE, "image/x-jng", "jng", "JNG picture", magics=(b"\x8bJNG\r\n\x1a\n",)),
    "fits": FileFormat(IMAGE, "image/fits", "fits", "FITS picture", magics=(b"SIMPLE  =",)),
    "cin": FileFormat(IMAGE, "image/x-cineon", "cin", "Cineon picture", magics=(b"\x80*_\xd7",)),
    "pcx": FileFormat(IMAGE, "image/x-pcx", "pcx", "PCX picture", magics=(b"\n\x05\x01\x08",)),
    "sgi": FileFormat(IMAGE, "image/x-sgi", "sgi", "Silicon Graphics picture", magics=(b"\x01\xda\x01\x01", b"\x01\xda\0\x01")),
    "ras": FileFormat(IMAGE, "image/x-sun-raster", "ras", "Sun raster picture", magics=(b"Y\xa6j\x95",)),
    "orf": FileFormat(IMAGE, "image/x-olympus-orf", "orf", RAW_PHOTO, weak_magics=(b"IIRO", b"IIRS", b"MMOR"), makers=("olympus",)),
    "raf": FileFormat(IMAGE, "image/x-fuji-raf", "raf", RAW_PHOTO, weak_magics=(b"FUJIFILMCCD-RAW ",)),
    "x3f": FileFormat(IMAGE, "image/x-sigma-x3f", "x3f", RAW_PHOTO, weak_magics=(b"FOVb",)),
    "iiq": FileFormat(IMAGE, "image/x-phaseone-iiq", "iiq", RAW_PHOTO, structure="tiff", weak_magics=(b"MMMMRawT", b"IIIITwaR"), makers=("phase one",)),
    "ari": FileFormat(IMAGE, "image/x-arri-ari", "ari", RAW_PHOTO, weak_magics=(b"ARRI",)),
    "rwz": FileFormat(IMAGE, "image/x-rawzor", "rwz", RAW_PHOTO, weak_magics=(b"rawzor",)),
    "lri": FileFormat(IMAGE, "image/x-light-lri", "lri", RAW_PHOTO, weak_magics=(b"LELR",)),
    "psd": FileFormat(IMAGE, "image/vnd.adobe.photoshop", "psd", "Photoshop document", weak_magics=(b"8BPS",)),
    "xcf": FileFormat(IMAGE, "image/x-xcf", "xcf", "GIMP document", weak_magics=(b"gimp xcf",)),
    "psp": FileFormat(IMAGE, "image/x-paintshoppro", "psp", "Paint Shop Pro document", weak_magics=(b"Paint Shop Pro Image File",)),
    "pdn": FileFormat(IMAGE, "image/x-paintnet", "pdn", "Paint.NET document", weak_magics=(b"PDN3",)),
    "clip": FileFormat(IMAGE, "image/x-clip-studio", "clip", "Clip Studio document", weak_magics=(b"CSFCHUNK",)),
    "flif": FileFormat(IMAGE, "image/flif", "flif", "FLIF picture", weak_magics=(b"FLIF",)),
    "qoi": FileFormat(IMAGE, "image/qoi", "qoi", "QOI picture", weak_magics=(b"qoif",)),
    "icns": FileFormat(IMAGE, "image/icns", "icns", "Mac icon with pictures of several sizes", weak_magics=(b"icns",)),
    "dds": FileFormat(IMAGE, "image/vnd-ms.dds", "dds", "DirectDraw texture", weak_magics=(b"DDS ",)),
    "hdr": FileFormat(IMAGE, "image/vnd.radiance", "hdr", "Radiance picture", weak_magics=(b"#?RADIANCE", b"#?RGBE")),
    "djvu": FileFormat(IMAGE, "image/vnd.djvu", "djvu", "DjVu document", weak_magics=(b"AT&TFORM",)),
    "dpx": FileFormat(IMAGE, "image/x-dpx", "dpx", "DPX picture", weak_magics=(b"SDPX", b"XPDS")),
    "avif": FileFormat(IMAGE, "image/avif", "avif", "AVIF", is_sent=True, decoder="AVIF", is_shown=True, structure="heif", brands=(b"avif", b"avis")),
    "heic": FileFormat(IMAGE, "image/heic", "heic", "HEIC", is_sent=True, decoder="HEIF", structure="heif", brands=(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")),
    "nef": FileFormat(IMAGE, "image/x-nikon-nef", "nef", RAW_PHOTO, structure="tiff", makers=("nikon",)),
    "cr2": FileFormat(IMAGE, "image/x-canon-cr2", "cr2", RAW_PHOTO, structure="tiff", makers=("canon",)),
    "arw": FileFormat(IMAGE, "image/x-sony-arw", "arw", RAW_PHOTO, structure="tiff", makers=("sony",)),
    "pef": FileFormat(IMAGE, "image/x-pentax-pef", "pef", RAW_PHOTO, structure="tiff", makers=("pentax", "ricoh",)),
    "srw": FileFormat(IMAGE, "image/x-samsung-srw", "srw", RAW_PHOTO, structure="tiff", makers=("samsung",)),
    "rwl": FileFormat(IMAGE, "image/x-leica-rwl", "rwl", RAW_PHOTO, structure="tiff", makers=("leica",)),
    "3fr": FileFormat(IMAGE, "image/x-hasselblad-3fr", "3fr", RAW_PHOTO, structure="tiff", makers=("hasselblad",)),
    "mos": FileFormat(IMAGE, "image/x-leaf-mos", "mos", RAW_PHOTO, structure="tiff", makers=("leaf",)),
    "mef": FileFormat(IMAGE, "image/x-mamiya-mef", "mef", RAW_PHOTO, structure="tiff", makers=("mamiya",)),
    "erf": FileFormat(IMAGE, "image/x-epson-erf", "erf", RAW_PHOTO, structure="tiff", makers=("epson", "seiko epson",)),
    "dcr": FileFormat(IMAGE, "image/x-kodak-dcr", "dcr", RAW_PHOTO, structure="tiff", makers=("kodak", "eastman kodak",)),
    "webp": FileFormat(IMAGE, "image/webp", "webp", "WebP", is_sent=True, decoder="WEBP", is_shown=True, structure="webp", patterns=(rb"(?:RIFF|RF64|BW64).{4}WEBP",)),
    "ani": FileFormat(IMAGE, "image/x-ani", "ani", "animated cursor", patterns=(rb"(?:RIFF|RF64|BW64).{4}ACON",)),
    "iff": FileFormat(IMAGE, "image/x-ilbm", "iff", "Amiga picture (ILBM)", patterns=(rb"FORM.{4}(?:ILBM|PBM )",)),
    "kra": FileFormat(IMAGE, "image/x-krita", "kra", "Krita document", patterns=(rb"PK\x03\x04.{26}mimetypeapplication/x-krita",)),
    "ora": FileFormat(IMAGE, "image/openraster", "ora", "OpenRaster document", patterns=(rb"PK\x03\x04.{26}mimetypeimage/openraster",)),
    "bmp": FileFormat(IMAGE, "image/bmp", "bmp", "BMP", is_sent=True, decoder="BMP", is_shown=True, patterns=(rb"BM.{4}\0{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0{3}",)),
    "ico": FileFormat(IMAGE, "image/vnd.microsoft.icon", "ico", "icon with pictures of several sizes", patterns=(rb"\0\0\x01\0[^\0]\0.{3}\0",)),
    "cur": FileFormat(IMAGE, "image/x-win-bitmap", "cur", "cursor", patterns=(rb"\0\0\x02\0[^\0]\0.{3}\0",)),
    "tga": FileFormat(IMAGE, "image/x-tga", "tga", "Targa picture"),
    "cr3": FileFormat(IMAGE, "image/x-canon-cr3", "cr3", RAW_PHOTO),
    "dng": FileFormat(IMAGE, "image/x-adobe-dng", "dng", RAW_PHOTO, structure="tiff"),
    "pnm": FileFormat(IMAGE, "image/x-portable-anymap", "pnm", "Netpbm picture (PNM)", patterns=(rb"P(?:[1-6]\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s|7\nWIDTH |[Ff]\n\d+ \d+\n)",)),
    "dcm": FileFormat(IMAGE, "image/dicom-rle", "dcm", "medical picture (DICOM)", patterns=(rb".{128}DICM",)),
    "mng": FileFormat(VIDEO, "video/x-mng", "mng", "MNG animation", magics=(b"\x8aMNG\r\n\x1a\n",)),
    "wmv": FileFormat(VIDEO, "video/x-ms-wmv", "wmv", "Windows Media video", structure="asf", sound="wma", magics=(b"0&\xb2u\x8ef\xcf\x11\xa6\xd9\0\xaa\0b\xcel",)),
    "flv": FileFormat(VIDEO, "video/x-flv", "flv", "Flash video", structure="flash", sound="flv-sound", magics=(b"FLV\x01",)),
    "mpg": FileFormat(VIDEO, "video/mpeg", "mpg", "MPEG video (VOB, MPG or MOD)", structure="program", sound="mpg-sound", magics=(b"\0\0\x01\xba", b"\0\0\x01\xb3")),
    "mxf": FileFormat(VIDEO, "video/mxf", "mxf", "MXF video", magics=(b"\x06\x0e+4\x02\x05\x01\x01",)),
    "dv": FileFormat(VIDEO, "video/x-dv", "dv", "DV video", magics=(b"\x1f\x07\0",)),
    "h264": FileFormat(VIDEO, "video/h264", "h264", "video without a container (H.264)", magics=(b"\0\0\0\x01g", b"\0\0\0\x01'", b"\0\0\0\x01G", b"\0\0\0\x01\x09\x10", b"\0\0\0\x01\x09\xf0")),
    "h265": FileFormat(VIDEO, "video/h265", "h265", "video without a container (H.265)", magics=(b"\0\0\0\x01@\x01", b"\0\0\0\x01B\x01", b"\0\0\0\x01F\x01")),
    "mpeg4": FileFormat(VIDEO, "video/mp4v-es", "mpeg4", "video without a container (MPEG-4)", magics=(b"\0\0\x01\xb0",)),
    "ivf": FileFormat(VIDEO, "video/x-ivf", "ivf", "IVF video", magics=(b"DKIF\0\0",)),
    "drc": FileFormat(VIDEO, "video/x-dirac", "drc", "Dirac video", magics=(b"BBCD\0",)),
    "rm": FileFormat(VIDEO, "video/vnd.rn-realmedia", "rm", "RealMedia video", structure="real", sound="rm-sound", weak_magics=(b".RMF",)),
    "y4m": FileFormat(VIDEO, "video/x-yuv4mpeg", "y4m", "uncompressed YUV4MPEG video", weak_magics=(b"YUV4MPEG2",)),
    "m4v": FileFormat(VIDEO, "video/x-m4v", "m4v", is_sent=True, structure="boxes", sound="m4a", brands=(b"M4V ", b"M4VH", b"M4VP")),
    "3gp": FileFormat(VIDEO, "video/3gpp", "3gp", is_sent=True, structure="boxes", sound="3gp-sound", brands=(b"3gp4", b"3gp5", b"3gp6", b"3gp7", b"3gp8", b"3gp9", b"3g2a", b"3g2b", b"3g2c")),
    "mp4": FileFormat(VIDEO, "video/mp4", "mp4", is_sent=True, structure="boxes", sound="m4a", brands=(b"isom", b"iso2", b"iso3", b"iso4", b"iso5", b"iso6", b"iso7", b"iso8", b"iso9", b"mp41", b"mp42", b"avc1", b"dash", b"MSNV", b"f4v ", b"XAVC")),
    "mov": FileFormat(VIDEO, "video/quicktime", "mov", is_sent=True, structure="boxes", sound="m4a", patterns=(rb"\0.{3}(?:moov|mdat|wide)",), brands=(b"qt  ",)),
    "avi": FileFormat(VIDEO, "video/x-msvideo", "avi", is_sent=True, structure="avi", sound="avi-sound", patterns=(rb"(?:RIFF|RF64|BW64).{4}AVI ",)),
    "webm": FileFormat(VIDEO, "video/webm", "webm", is_sent=True, structure="ebml", sound="weba"),
    "mkv": FileFormat(VIDEO, "video/x-matroska", "mkv", is_sent=True, structure="ebml", sound="mka"),
    "ogv": FileFormat(VIDEO, "video/ogg", "ogv", is_sent=True, structure="ogg"),
    "ts": FileFormat(VIDEO, "video/mp2t", "ts", "MPEG transport stream (AVCHD, MTS or TS)", structure="transport", sound="ts-sound", patterns=(rb"(?:G.{187}){4}G|.{4}(?:G.{191}){4}G|(?:G.{203}){4}G",)),
    "r3d": FileFormat(VIDEO, "video/x-red", "r3d", "raw film of a camera (R3D)", patterns=(rb".{4}RED[12]",)),
    "flac": FileFormat(AUDIO, "audio/flac", "flac", is_sent=True, magics=(b"fLaC",)),
    "silk": FileFormat(AUDIO, "audio/silk", "silk", "SILK sound", magics=(b"\x02#!SILK",), weak_magics=(b"#!SILK",)),
    "caf": FileFormat(AUDIO, "audio/x-caf", "caf", "Core Audio sound (CAF)", magics=(b"caff\0\x01",)),
    "au": FileFormat(AUDIO, "audio/basic", "au", "AU sound", magics=(b".snd\0\0",)),
    "mid": FileFormat(AUDIO, "audio/midi", "mid", "MIDI file, which holds notes and no sound", magics=(b"MThd\0\0\0\x06",)),
    "ra": FileFormat(AUDIO, "audio/vnd.rn-realaudio", "ra", "RealAudio sound", magics=(b".ra\xfd",)),
    "dts": FileFormat(AUDIO, "audio/vnd.dts", "dts", "DTS sound", magics=(b"\x7f\xfe\x80\x01",)),
    "w64": FileFormat(AUDIO, "audio/x-w64", "w64", "Wave64 sound", magics=(b"riff.\x91\xcf\x11",)),
    "dss": FileFormat(AUDIO, "audio/x-dss", "dss", "dictation sound (DSS)", magics=(b"\x02dss",)),
    "ds2": FileFormat(AUDIO, "audio/x-dss", "ds2", "dictation sound (DS2)", magics=(b"\x03ds2",)),
    "oma": FileFormat(AUDIO, "audio/x-oma", "oma", "ATRAC sound (OMA)", magics=(b"ea3\x03\0\0\0\0",)),
    "amr": FileFormat(AUDIO, "audio/amr", "amr", "AMR sound", weak_magics=(b"#!AMR",)),
    "ape": FileFormat(AUDIO, "audio/x-ape", "ape", "Monkey's Audio sound", weak_magics=(b"MAC ",)),
    "wv": FileFormat(AUDIO, "audio/x-wavpack", "wv", "WavPack sound", weak_magics=(b"wvpk",)),
    "tta": FileFormat(AUDIO, "audio/x-tta", "tta", "True Audio sound", weak_magics=(b"TTA1",)),
    "dsf": FileFormat(AUDIO, "audio/x-dsf", "dsf", "DSD sound", weak_magics=(b"DSD ",)),
    "dff": FileFormat(AUDIO, "audio/x-dff", "dff", "DSD sound", weak_magics=(b"FRM8",)),
    "mpc": FileFormat(AUDIO, "audio/x-musepack", "mpc", "Musepack sound", weak_magics=(b"MPCK", b"MP+")),
    "ac3": FileFormat(AUDIO, "audio/ac3", "ac3", "Dolby Digital sound", weak_magics=(b"\x0bw",)),
    "voc": FileFormat(AUDIO, "audio/x-voc", "voc", "Creative Voice sound", weak_magics=(b"Creative Voice File",)),
    "adif": FileFormat(AUDIO, "audio/x-adif", "aac", "AAC sound without frames (ADIF)", weak_magics=(b"ADIF",)),
    "m4a": FileFormat(AUDIO, "audio/mp4", "m4a", is_sent=True, structure="boxes", brands=(b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B ")),
    "wav": FileFormat(AUDIO, "audio/wav", "wav", is_sent=True, structure="wave", patterns=(rb"(?:RIFF|RF64|BW64).{4}WAVE",)),
    "rmi": FileFormat(AUDIO, "audio/midi", "rmi", "MIDI file, which holds notes and no sound", patterns=(rb"(?:RIFF|RF64|BW64).{4}RMID",)),
    "cda": FileFormat(AUDIO, "audio/x-cda", "cda", "entry of an audio CD, which holds no sound", patterns=(rb"(?:RIFF|RF64|BW64).{4}CDDA",)),
    "qcp": FileFormat(AUDIO, "audio/qcelp", "qcp", "QCELP sound", patterns=(rb"(?:RIFF|RF64|BW64).{4}QLCM",)),
    "aiff": FileFormat(AUDIO, "audio/aiff", "aiff", "AIFF sound", patterns=(rb"FORM.{4}AIFF",)),
    "aifc": FileFormat(AUDIO, "audio/aiff", "aifc", "AIFF sound", patterns=(rb"FORM.{4}AIFC",)),
    "8svx": FileFormat(AUDIO, "audio/x-8svx", "8svx", "8SVX sound", patterns=(rb"FORM.{4}8SVX",)),
    "mp3": FileFormat(AUDIO, "audio/mpeg", "mp3", is_sent=True, patterns=(rb"ID3[^\xff].{2}[\0-\x7f]{4}",)),
    "mp2": FileFormat(AUDIO, "audio/mpeg", "mp2", "MPEG sound of an older kind (MP2)"),
    "aac": FileFormat(AUDIO, "audio/aac", "aac", is_sent=True),
    "3gp-sound": FileFormat(AUDIO, "audio/3gpp", "3gp", is_sent=True, structure="boxes"),
    "weba": FileFormat(AUDIO, "audio/webm", "weba", is_sent=True, structure="ebml"),
    "mka": FileFormat(AUDIO, "audio/x-matroska", "mka", is_sent=True, structure="ebml"),
    "ogg": FileFormat(AUDIO, "audio/ogg", "ogg", is_sent=True, structure="ogg"),
    "avi-sound": FileFormat(AUDIO, "audio/x-msvideo", "avi", is_sent=True, structure="avi"),
    "wma": FileFormat(AUDIO, "audio/x-ms-wma", "wma", "Windows Media sound", structure="asf"),
    "flv-sound": FileFormat(AUDIO, "audio/x-flv", "flv", "sound in a Flash video", structure="flash"),
    "mpg-sound": FileFormat(AUDIO, "audio/mpeg", "mpg", "sound in an MPEG stream", structure="program"),
    "ts-sound": FileFormat(AUDIO, "audio/mp2t", "ts", "sound in an MPEG transport stream", structure="transport"),
    "rm-sound": FileFormat(AUDIO, "audio/vnd.rn-realaudio", "rm", "RealAudio sound", structure="real"),
    "rifx": FileFormat(AUDIO, "audio/x-rifx", "wav", "WAV sound of the rare kind RIFX", patterns=(rb"RIFX.{4}WAVE",)),
    "eps": FileFormat(TEXT, "application/postscript", "eps", "PostScript drawing (EPS)"),
    "wmf": FileFormat(FILE, "image/wmf", "wmf", "Windows metafile", magics=(b"\xd7\xcd\xc6\x9a",)),
    "eps-preview": FileFormat(FILE, "application/postscript", "eps", "PostScript drawing (EPS)", magics=(b"\xc5\xd0\xd3\xc6",)),
    "pdf": FileFormat(FILE, "application/pdf", "pdf", magics=(b"%PDF-",)),
    "glb": FileFormat(FILE, "model/gltf-binary", "glb", magics=(b"glTF\x01\0\0\0", b"glTF\x02\0\0\0")),
    "zip": FileFormat(FILE, "application/zip", "zip", weak_magics=(b"PK\x03\x04", b"PK\x05\x06")),
    "swf": FileFormat(FILE, "application/x-shockwave-flash", "swf", "Flash animation", weak_magics=(b"FWS", b"CWS", b"ZWS")),
    "emf": FileFormat(FILE, "image/emf", "emf", "Windows metafile", patterns=(rb"\x01\0\0\0.{36} EMF",)),
    "raw": FileFormat(IMAGE, "image/x-raw", "raw", RAW_PHOTO, structure="tiff"),
    "json": FileFormat(TEXT, "application/json", "json"),
    "txt": FileFormat(TEXT, "text/plain", "txt"),
    "svg": FileFormat(FILE, "image/svg+xml", "svg", "SVG drawing"),
    "html": FileFormat(FILE, "text/html", "html"),
    "xml": FileFormat(FILE, "text/xml", "xml"),
}
# fmt: on
"""By key: the extension, or a longer name where formats share one. The first match counts."""


MAX_HEAD_BYTES: Final = 4096
"""How much of a file is read; more changes nothing."""

_STILL_BRANDS: Final = (b"mif1", b"msf1", b"mif2", b"miaf")
"""They mean only "a picture in this container": a later brand decides."""
_BRANDS: Final = {brand: key for key, one in FORMATS.items() for brand in one.brands}
_MAGICS: Final = tuple((one.magics, key) for key, one in FORMATS.items() if one.magics)
_WEAK_MAGICS: Final = tuple((one.weak_magics, key) for key, one in FORMATS.items() if one.weak_magics)
_PATTERNS: Final = tuple((pattern, key) for key, one in FORMATS.items() for pattern in one.patterns)


def sniff(head: bytes) -> FileFormat | None:
    """Return the format of a file that begins with these bytes, or None for an unknown one."""
    head = head[:MAX_HEAD_BYTES]
    for find in (_find_magic, _find_brand, _find_matroska, _find_ogg, _find_pattern, _find_frames, _find_text):
        if key := find(head):
            return FORMATS[key]
    key = next((key for magics, key in _WEAK_MAGICS if head.startswith(magics)), "") or _find_legacy_text(head)
    return FORMATS.get(key)


def _find_magic(head: bytes) -> str:
    return next((key for magics, key in _MAGICS if head.startswith(magics)), "")


def _find_pattern(head: bytes) -> str:
    # Compiled at first use, and kept by the module `re`.
    return next((key for pattern, key in _PATTERNS if re.match(pattern, head, re.DOTALL)), "")


def _find_brand(head: bytes) -> str:
    if head[4:8] != b"ftyp":
        return ""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    major, others = head[8:12], [head[start : start + 4] for start in range(16, end - 3, 4)]
    known = [_BRANDS[brand] for brand in (major, *others) if brand in _BRANDS]
    if major in _STILL_BRANDS:
        return "avif" if "avif" in known else "heic"
    return known[0] if known else ""


def _find_matroska(head: bytes) -> str:
    doctype = re.match(rb"\x1aE\xdf\xa3.{0,122}?\x42\x82.(webm|matroska)", head, re.DOTALL)
    return {b"webm": "webm", b"matroska": "mkv"}[doctype[1]] if doctype else ""


_OGG_PICTURES: Final = rb"OggS\0[\x02\x03\x06\x07].{20,24}(?:\x80theora|BBCD\0|\x01video|OVP80|\x80daala)"


def _find_ogg(head: bytes) -> str:
    if not head.startswith(b"OggS\0"):
        return ""
    # All streams begin before any continues (RFC 3533), each with a page that names its codec.
    return "ogv" if re.search(_OGG_PICTURES, head, re.DOTALL) else "ogg"


_LAYER_3, _LAYER_2 = 1, 2
_FIRST_VERSION: Final = 3
_VERSION_SHIFTS: Final = {_FIRST_VERSION: 0, 2: 1, 0: 2}
"""By the version field: MPEG 1, 2 and 2.5, each with half the sample rate of the one before."""
_HERTZ: Final = (44100, 48000, 32000, 0)
_LATER_RATES: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_RATES: Final = {
    (_LAYER_3, True): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (_LAYER_3, False): _LATER_RATES,
    (_LAYER_2, True): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0),
    (_LAYER_2, False): _LATER_RATES,
}
"""Bit rates in kbit/s by layer and whether it is MPEG 1; 0 marks what cannot be used here."""


@dataclass(frozen=True, slots=True)
class MpegFrame:
    """What the header of an MPEG audio frame says."""

    layer: int
    """As the header writes it: 1 for Layer III, 2 for Layer II."""
    size_bytes: int
    samples: int
    hertz: int


def find_mpeg_frame(head: bytes) -> MpegFrame | None:
    """Return the Layer II or III frame that begins here, or None."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:  # noqa: PLR2004
        return None
    version, layer = (head[1] >> 3) & 3, (head[1] >> 1) & 3
    shift, is_first = _VERSION_SHIFTS.get(version), version == _FIRST_VERSION
    rates = _RATES.get((layer, is_first))
    # MPEG 2.5 (version 0) has Layer III alone.
    if rates is None or shift is None or (layer == _LAYER_2 and not version):
        return None
    rate, hertz = rates[head[2] >> 4], _HERTZ[(head[2] >> 2) & 3] >> shift
    if not rate or not hertz:
        return None
    samples = 1152 if is_first or layer == _LAYER_2 else 576
    return MpegFrame(layer, samples * 125 * rate // hertz + ((head[2] >> 1) & 1), samples, hertz)


def _count_mpeg_frame_bytes(frame: bytes, layer: int) -> int:
    found = find_mpeg_frame(frame)
    return found.size_bytes if found is not None and found.layer == layer else 0


def _count_aac_frame_bytes(frame: bytes) -> int:
    """Return the length of the ADTS frame that begins here, or 0."""
    is_frame = len(frame) >= 7 and frame[0] == 0xFF and frame[1] & 0xF6 == 0xF0 and (frame[2] >> 2) & 15 < 13  # noqa: PLR2004
    return int.from_bytes(frame[3:6], "big") >> 5 & 0x1FFF if is_frame else 0


_FRAME_COUNTERS: Final[tuple[tuple[str, Callable[[bytes], int]], ...]] = (
    ("mp2", lambda frame: _count_mpeg_frame_bytes(frame, _LAYER_2)),
    ("mp3", lambda frame: _count_mpeg_frame_bytes(frame, _LAYER_3)),
    ("aac", _count_aac_frame_bytes),
)


def _find_frames(head: bytes) -> str:
    for key, count in _FRAME_COUNTERS:
        # Eleven set bits prove nothing: the next frame must begin where this one ends, or the file end there.
        length = count(head)
        if length and (len(head) == length or count(head[length:])):
            return key
    return ""


_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_HTML: Final = re.compile(r"<!doctype\s+html|<(?:html|head|body|script|iframe)[\s>/]", re.IGNORECASE)
_SVG: Final = re.compile(r"<(?:[a-z0-9_-]{1,20}:)?svg[\s>/]", re.IGNORECASE)
_WIDE_MARKUP: Final = re.compile(rb"(?:([<{\[]\0)|\0[<{\[])(?:\0[\t-~]|[\t-~]\0)")
_SPACES: Final = "\ufeff \t\r\n\f"
_FEW_BYTES, _SURE_BYTES = 16, 64
"""This many bytes without a control character are text; fewer are, when most of them are ASCII."""
_JSON: Final = re.compile(r"""\{\s*["}]|\[\s*[\[{"\]]""")


def _find_text(head: bytes) -> str:
    """Return the kind of a text in UTF-8 or marked UTF-16."""
    has_mark = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        # A letter that is cut off at the end is dropped.
        text = codecs.getincrementaldecoder("utf-16" if has_mark else "utf-8")().decode(head)
    except UnicodeDecodeError:
        return ""
    # A browser renders what begins as HTML, whatever follows.
    is_text = text and (_HTML.match(text.lstrip(_SPACES)) or not _CONTROLS.search(text))
    return _classify_text(text) if is_text else ""


def _find_legacy_text(head: bytes) -> str:
    """Return the kind of a text in an older encoding, or in UTF-16 without its mark: error pages still use them."""
    if wide := _WIDE_MARKUP.match(head):
        return _classify_text(head.decode("utf-16-le" if wide[1] else "utf-16-be", "replace"))
    text = head.decode("latin-1")
    is_long = len(head) >= _SURE_BYTES or (len(head) >= _FEW_BYTES and sum(map(str.isascii, text)) * 2 > len(head))
    return _classify_text(text) if is_long and not _CONTROLS.search(text) else ""


def _classify_text(text: str) -> str:
    text = text.lstrip(_SPACES)
    if text.startswith("%!PS"):
        return "eps"
    if not text.startswith("<"):
        return "json" if _JSON.match(text) else "txt"
    html, svg = _HTML.search(text), _SVG.search(text)
    if svg is not None and (html is None or svg.start() < html.start()):
        return "svg"
    return "html" if html is not None else "xml"

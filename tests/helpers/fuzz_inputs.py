"""Valid inputs, changed at random: in their bytes, and in what the bytes mean, to get past the first check."""

import copy
import io
import json
import struct
import tarfile
import zlib

LONGEST = 1 << 17
NUMBERS = (
    0,
    -1,
    1,
    2,
    3,
    4,
    7,
    8,
    127,
    128,
    255,
    256,
    348,
    352,
    32767,
    -32768,
    65535,
    2**31 - 1,
    -(2**31),
    2**32,
    2**63,
)
FRACTIONS = (0.0, -0.0, 1e-45, 1e-30, 1e-6, 0.5, -1.0, 1.0, 352.0, 1e6, 1e30, 3.4e38, float("inf"), float("nan"))
TEXTS = (
    "",
    " ",
    ".",
    "..",
    "/",
    "-",
    "--",
    "../outside.nii.gz",
    "../../outside.nii.gz",
    "/etc/hostname",
    "imagesTr",
    "imagesTr/out.nii.gz",
    "imagesTr/away/b.nii.gz",
    "imagesTr/._a.nii.gz",
    "imagesTr/a.nii.gz",
    "./imagesTr//a.nii.gz",
    "imagesTr/../imagesTr/a.nii.gz",
    "imagesTr/away/../b.nii.gz",
    "labelsTr/a.nii.gz",
    ".nii.gz",
    "a" * 300,
    "a" * 5000 + ".nii.gz",
    "\x1b[2J",
    "\x00",
    "a\nb",
    "\u202egnp",
    "\ud800",
    "\udcff",
    "\u0663",
    "1_0",
    "1e400",
    "NaN",
    "9" * 5000,
    "auto",
    "on",
    "pad",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"'><svg onload=alert(1)>",
    "=1+1",
    "$(touch touched)",
    "`touch touched`",
    "; touch touched",
    "{}",
    "{0.__class__}",
    "%s%n",
    "$title",
    "__proto__",
)
STACKS = ("stack.tif", "pages", "pages/a.png", "pages/../pages", "links")
VALUES = (
    NUMBERS + FRACTIONS + TEXTS + STACKS + (None, True, False, [], {}, [[]], {"": None}, [None], ["a", "a"], {"0": "a"})
)


def changed_bytes(random, content):
    """Some bytes replaced, inserted, removed, repeated or cut off."""
    content = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 5))):
        start = random.randrange(len(content) + 1)
        length = random.choice((1, 1, 2, 4, 16, 512))
        kind = random.randrange(6)
        if kind == 0:
            content[start : start + length] = bytes(random.getrandbits(8) for _ in range(length))
        elif kind == 1:
            content[start : start + 1] = bytes([random.choice((0, 1, 10, 32, 34, 45, 47, 92, 127, 128, 255))])
        elif kind == 2:
            content[start:start] = content[start : start + length]
        elif kind == 3:
            del content[start : start + length]
        elif kind == 4:
            content[start:start] = random.choice(TEXTS).encode("utf-8", "surrogatepass")
        else:
            del content[random.choice((start, 0, len(content) // 2)) :]
    return bytes(content[:LONGEST])


# NIfTI: (offset, struct format) of the header's numbers that anything reads.
NIFTI_FIELDS = (
    [(0, "i"), (108, "f"), (112, "f"), (116, "f"), (70, "h"), (72, "h"), (123, "B"), (252, "h"), (254, "h"), (344, "i")]
    + [(40 + 2 * place, "h") for place in range(8)] * 2
    + [(76 + 4 * place, "f") for place in range(8)]
    + [(256 + 4 * place, "f") for place in range(18)]
    + [(124, "f"), (128, "f"), (348, "i"), (352, "i")]
)
NIFTI_TYPES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304)


def changed_nifti(random, content):
    """Another number in a field of the header, in another byte order, or another compression."""
    compressed = content[:2] == b"\x1f\x8b"
    header = bytearray(gunzipped(content) if compressed else content)
    header.extend(bytes(max(0, 356 - len(header))))
    for _ in range(random.choice((1, 1, 2, 3))):
        offset, form = random.choice(NIFTI_FIELDS)
        value = random.choice(FRACTIONS if form == "f" else NUMBERS)
        if offset == 70:
            value = random.choice(NIFTI_TYPES)
        elif 40 <= offset < 56:
            value = random.choice((-1, 0, 1, 2, 3, 4, 5, 7, 20, 32767))
        try:
            struct.pack_into(random.choice("<<<>") + form, header, offset, value)
        except (struct.error, OverflowError):
            struct.pack_into("<" + form, header, offset, 0)
    if random.randrange(20) == 0:
        header.extend(bytes(random.choice((1, 1000, 10**6, 3 * 10**7))))
    changed = bytes(header)
    return zipped(random, changed) if compressed != (random.randrange(12) == 0) else changed[:LONGEST]


def gunzipped(content):
    """What can be had of a compressed file, damaged or not."""
    try:
        return zlib.decompressobj(31).decompress(content, 1 << 22)
    except zlib.error:
        return b""


def zipped(random, content):
    """A gzip file of a content: whole, in two members, or followed by something else."""
    level = random.choice((0, 1, 9)) if len(content) < LONGEST else 9
    whole = gzipped(content, level)
    return random.choice((whole, whole, whole, whole + gzipped(b"more"), whole + bytes(8), whole + b"rest"))


def gzipped(content, level=9):
    """A gzip file of a content, which does not tell when it was made: a run is to be like the one before."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, 31)
    return compressor.compress(content) + compressor.flush()


# TIFF: the tags that say how the pixels lie in the file, and their values that mean something.
TIFF_TAGS = (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339)
TIFF_VALUES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 24, 32, 64, 255, 32773, 32946, 65535, 65536, 2**31 - 1, 2**32 - 1)


def changed_tiff(random, content):
    """Another tag, type, count or value in an entry of a little-endian TIFF file's directories, or another next one."""
    content = bytearray(content)
    if content[:4] != b"II*\0" or random.randrange(6) == 0:
        return changed_bytes(random, bytes(content))
    for _ in range(random.choice((1, 1, 2))):
        places = _tiff_directories(content)
        if not places:
            return changed_bytes(random, bytes(content))
        at = random.choice(places)
        count = struct.unpack_from("<H", content, at)[0]
        entry, kind = at + 2 + 12 * random.randrange(max(1, count)), random.randrange(5)
        form, offset, value = (
            ("<H", entry, random.choice(TIFF_TAGS)),
            ("<H", entry + 2, random.randrange(18)),
            ("<I", entry + 4, random.choice(TIFF_VALUES)),
            ("<I", entry + 8, random.choice(TIFF_VALUES + (at, 8, len(content)))),
            ("<I", at + 2 + 12 * count, random.choice((0, at, 8) + tuple(places))),
        )[kind]
        if offset + 4 <= len(content):
            struct.pack_into(form, content, offset, value)
    return bytes(content)


def _tiff_directories(content):
    found, at = [], struct.unpack_from("<I", content, 4)[0] if len(content) >= 8 else 0
    while 0 < at <= len(content) - 2 and at not in found:
        found.append(at)
        following = at + 2 + 12 * struct.unpack_from("<H", content, at)[0]
        at = struct.unpack_from("<I", content, following)[0] if following + 4 <= len(content) else 0
    return found


def changed_png(random, content):
    """A field of a PNG file's header changed, a chunk doubled or removed; the checksums are right again."""
    if content[:8] != b"\x89PNG\r\n\x1a\n" or random.randrange(6) == 0:
        return changed_bytes(random, content)
    chunks, at = [], 8
    while at + 12 <= len(content):
        length = struct.unpack_from(">I", content, at)[0]
        chunks.append([content[at + 4 : at + 8], bytearray(content[at + 8 : at + 8 + length])])
        at += 12 + length
    if not chunks:
        return changed_bytes(random, content)
    place, kind = random.randrange(len(chunks)), random.randrange(4)
    if kind == 0:
        chunks.insert(place, chunks[place])
    elif kind == 1:
        del chunks[place]
    elif kind == 2 and chunks[0][0] == b"IHDR" and len(chunks[0][1]) == 13:
        field = random.choice((0, 4, 8, 9, 10, 11, 12))
        if field < 8:
            struct.pack_into(">I", chunks[0][1], field, random.choice((0, 1, 2, 7, 65536, 2**31 - 1)))
        else:
            chunks[0][1][field] = random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    else:
        chunks[place][1] = bytearray(changed_bytes(random, bytes(chunks[place][1])))
    return content[:8] + b"".join(map(_png_chunk, chunks))[:LONGEST]


def _png_chunk(chunk):
    name, data = chunk
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + bytes(data)) & 0xFFFFFFFF)


def changed_json(random, content):
    """A value somewhere in a JSON text replaced, removed, doubled, renamed or put into another one."""
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        return changed_bytes(random, content)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        value = _changed_value(random, value)
    if random.randrange(200) == 0:
        return b"[" * 50000
    return json.dumps(value, ensure_ascii=random.randrange(2) == 0).encode("utf-8", "surrogatepass")[:LONGEST]


def _changed_value(random, value):
    if isinstance(value, (dict, list)) and value and random.randrange(20):
        key = random.choice(sorted(value)) if isinstance(value, dict) else random.randrange(len(value))
        kind = random.randrange(8)
        if kind == 0:
            del value[key]
        elif kind == 1 and isinstance(value, dict):
            value[random.choice(TEXTS + ("1", "2", "-1"))] = copy.deepcopy(value[key])
        elif kind == 1:
            value.append(copy.deepcopy(value[key]))
        elif kind == 2:
            value[key] = [value[key]]
        else:
            value[key] = _changed_value(random, value[key])
        return value
    if isinstance(value, str) and random.randrange(3) == 0:
        return random.choice((value + random.choice(TEXTS), random.choice(TEXTS) + value, value[1:], value * 2))
    return copy.deepcopy(random.choice(VALUES))


def changed_lines(random, content):
    """Lines, such as arguments of a command, replaced, removed, doubled or moved."""
    lines = content.split(b"\n")
    for _ in range(random.choice((1, 1, 2, 3))):
        place = random.randrange(len(lines) + 1)
        kind = random.randrange(5)
        text = random.choice(TEXTS + tuple(map(str, NUMBERS + FRACTIONS)))
        if kind == 0 and lines:
            del lines[place : place + 1]
        elif kind == 1:
            lines.insert(place, random.choice(lines) if lines else b"")
        elif kind == 2:
            lines.insert(place, text.replace("\n", " ").encode("utf-8", "surrogatepass"))
        else:
            lines[place : place + 1] = [text.replace("\n", " ").encode("utf-8", "surrogatepass")]
    return b"\n".join(lines)[:LONGEST]


# tar: (offset, length) of the header's fields.
TAR_FIELDS = ((0, 100), (100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (329, 8))
TAR_FIELDS += ((345, 155), (386, 12), (483, 12))
TAR_TYPES = tuple(bytes([code]) for code in b"01234567xgLKSVDNMX\0")


def changed_tar(random, content):
    """A field of a member's header, its checksum right again; or one more member of any kind."""
    if len(content) < 1024 or random.randrange(4) == 0:
        return (_odd_member(random) + content)[:LONGEST]
    content = bytearray(content)
    headers = [at for at in range(0, len(content) - 511, 512) if content[at + 257 : at + 262] == b"ustar"] or [0]
    start = random.choice(headers)
    offset, length = random.choice(TAR_FIELDS)
    if offset == 156:
        value = random.choice(TAR_TYPES)
    elif offset in (0, 157, 345):
        value = random.choice(("Task99_Tiny/", "", "/")).encode() + _text(random)
    else:
        value = random.choice((b"77777777777", b"-1", b"00000000001\0", b"\x80" + bytes(11), b"\xff" * 12, b"", b"x"))
    content[start + offset : start + offset + length] = value[:length].ljust(length, b"\0")
    content[start : start + 512] = with_checksum(content[start : start + 512])
    return bytes(content)


def _text(random):
    return random.choice(TEXTS).encode("utf-8", "surrogatepass")


def with_checksum(header):
    """A tar header of 512 bytes with the right checksum."""
    header = bytearray(header)
    header[148:156] = b" " * 8
    header[148:156] = "{:06o}".format(sum(header)).encode() + b"\0 "
    return bytes(header)


def _odd_member(random):
    name = random.choice(("Task99_Tiny/", "Task99_Tiny/a/", "", "./")) + random.choice(TEXTS)
    member = tarfile.TarInfo(name.replace("\ud800", ""))
    member.type = random.choice(TAR_TYPES)
    member.mode = random.choice((0, 0o644, 0o6777))
    member.linkname = random.choice(TEXTS).replace("\ud800", "")
    member.size = random.choice((0, 1, 511, 512, 513, 1 << 20, 1 << 40))
    member.pax_headers = random.choice(({}, {}, {"size": "-1"}, {"path": "../a"}, {"GNU.sparse.realsize": "99"}))
    form = random.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    stream = io.BytesIO()
    try:
        stream.write(member.tobuf(form, "utf-8", "surrogateescape"))
    except ValueError:
        return b""
    return stream.getvalue() + bytes(random.choice((0, 512, 1024)))

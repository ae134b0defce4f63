"""zlib streams of many equal clips in one call, with a coder of its own for clips that are almost black.

A general coder searches; where nearly all bytes are zero there is nothing to search for. One pass over the clip in
whole vectors lists the runs of other bytes. Between them stand zeros, and an entity that moves over the black repeats
the one in the frame before: all its rows, zeros between them included, are one match at one distance. All such streams
share one set of Huffman codes. What matters as much as the work saved: the kernel needs the interpreter lock once for
many clips, not twice for each. Any bytes are encoded exactly; what is not sparse goes to igzip.
"""

from __future__ import annotations

import math

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from tsgen.philox import kernel

SCANNED = 32  # words of 8 bytes looked at together
MOST_NONZERO, SLACK = 16, 512  # sparse: at most one non-zero byte in 16 up to any place in the clip, and 512 more
GROUP_GAP = 512  # zeros that separate one group of runs (an entity in a frame) from the next
WINDOW, SHORTEST, LONGEST = 32768, 4, 258  # of matches, bytes; deflate allows 3, which saves nothing

# Code lengths in bits, (length, of how many symbols in a row): the literals, the end, the lengths of matches; and the
# distances. Half of all symbols are matches of 258 zeros at a distance that is long enough for readers to copy fast.
LITERALS_AND_LENGTHS = ((4, 1), (11, 63), (10, 192), (11, 1), (7, 28), (1, 1))
END, FIRST_LENGTH = 256, 257
DISTANCES = ((6, 11), (1, 1), (6, 11), (5, 3), (6, 4))
FAR, FAR_SYMBOL, FAR_EXTRA = 49, 11, 4
REPEAT = 16  # among the code lengths: the one before 3..6 times more
LENGTHS_OF_LENGTHS = {REPEAT: 1, 7: 3, 1: 4, 4: 4, 5: 4, 6: 4, 10: 4, 11: 4}
ORDER_OF_LENGTHS = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)


def _codes(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The code of each symbol from the code lengths (RFC 1951, 3.2.2), its first bit lowest. int64 (N,)."""
    codes, code = np.zeros(len(sizes), dtype=np.int64), 0
    for size in range(1, int(sizes.max()) + 1):
        code <<= 1
        for symbol in np.flatnonzero(sizes == size):
            codes[symbol] = int(f"{code:0{size}b}"[::-1], 2)
            code += 1
    return codes


def _header() -> NDArray[np.int64]:
    """The tokens that every stream begins with. int64 (M,)."""
    sizes = np.array([LENGTHS_OF_LENGTHS.get(symbol, 0) for symbol in range(19)])
    codes = _codes(sizes)
    fields = [(0x0178, 16), (1, 1), (2, 2), (286 - 257, 5), (30 - 1, 5), (19 - 4, 4)]  # zlib; last block, own codes
    fields += [(int(sizes[symbol]), 3) for symbol in ORDER_OF_LENGTHS]
    for length, count in LITERALS_AND_LENGTHS + DISTANCES:
        once, rest = (int(codes[length]), int(sizes[length])), count - 1
        fields.append(once)
        while rest >= 3:
            fields += [(int(codes[REPEAT]), int(sizes[REPEAT])), (min(rest, 6) - 3, 2)]
            rest -= min(rest, 6)
        fields += [once] * rest
    bits = "".join(f"{value:0{size}b}"[::-1] for value, size in fields)
    pieces = [bits[at : at + 31] for at in range(0, len(bits), 31)]
    return np.array([_token(int(piece[::-1], 2), len(piece)) for piece in pieces])


def _token(bits: int, size: int) -> int:
    """A number of at most 31 bits to write, and how many they are, in one."""
    return int(bits) | int(size) << 32


def _matches(distance: int, distance_size: int) -> NDArray[np.int64]:
    """Tokens of matches of 3..258 bytes at a distance given by its bits. int64 (259,), 0 below 3."""
    tokens = np.zeros(LONGEST + 1, dtype=np.int64)
    length = 3
    for symbol in range(28):
        extra = max(0, symbol // 4 - 1)
        code, size = int(CODES[FIRST_LENGTH + symbol]), int(SIZES[FIRST_LENGTH + symbol])
        for value in range(1 << extra):
            bits = code | value << size | distance << (size + extra)
            tokens[length] = _token(bits, size + extra + distance_size)
            length += 1
    # The last length has a symbol of its own as well.
    tokens[LONGEST] = _token(int(CODES[-1]) | distance << int(SIZES[-1]), int(SIZES[-1]) + distance_size)
    return tokens


SIZES = np.repeat(*np.array(LITERALS_AND_LENGTHS).T)
CODES = _codes(SIZES)
DISTANCE_SIZES = np.repeat(*np.array(DISTANCES).T)
DISTANCE_CODES = _codes(DISTANCE_SIZES)
HEADER = _header()
LITERALS = np.array([_token(*pair) for pair in zip(CODES[: END + 1], SIZES, strict=False)])
MATCHES = _matches(0, 0)  # the distance follows in a token of its own
NEAR_ZEROS = _matches(int(DISTANCE_CODES[0]), int(DISTANCE_SIZES[0]))
FAR_ZEROS = _matches(int(DISTANCE_CODES[FAR_SYMBOL]), int(DISTANCE_SIZES[FAR_SYMBOL]) + FAR_EXTRA)


def deflate(clips: NDArray[np.uint8], level: int) -> list[bytes]:
    """The zlib stream of each of the clips uint8 (N, ...), contiguous; ``level`` of igzip, for those not sparse."""
    clip_bytes = math.prod(clips.shape[1:])
    rows = clips.reshape(len(clips), clip_bytes)
    ends = np.zeros((len(rows), 2), dtype=np.int64)
    most = clip_bytes // MOST_NONZERO + SLACK
    out = np.empty(len(rows) * (2 * most + clip_bytes // 128 + 128), dtype=np.uint32)  # more than the longest streams
    if clip_bytes and clip_bytes % (8 * SCANNED) == 0:
        _deflate_rows(rows, rows.view(np.uint64), most, out, ends)
    data = out.view(np.uint8)
    return [
        data[start:stop].tobytes() if stop else isal_zlib.compress(row, level)
        for row, (start, stop) in zip(rows, ends.tolist(), strict=True)
    ]


@kernel
def _deflate_rows(rows, words, most, out, ends):  # type: ignore[no-untyped-def]
    """Write the streams to ``out`` uint32 (M,), and where each starts and stops, in bytes, to ``ends`` int64 (N, 2)."""
    at = 0  # one small piece of ``out`` for all: every page touched for the first time costs as much as a clip
    first, after = np.empty((2, most), dtype=np.int64)
    tokens = np.empty(6 * most + rows.shape[1] // 64 + 128, dtype=np.int64)  # at most five between two runs
    tokens[: len(HEADER)] = HEADER
    for n in range(len(rows)):
        runs, adler = _scan(rows[n], words[n], first, after)
        if runs >= 0:
            count = _encode(rows[n], first[:runs], after[:runs], tokens)
            size = _pack(tokens[:count], adler, out[at:])
            ends[n] = 4 * at, 4 * at + size
            at += (size + 3) // 4


@kernel
def _scan(row, words, first, after):  # type: ignore[no-untyped-def]
    """List the runs of non-zero bytes, [first, after). Returns their number, -1 if not sparse, and Adler-32."""
    runs, found, end, total, weighted = 0, 0, -1, 0, 0
    for at in range(0, len(words), SCANNED):
        together = words[at]
        for word in range(at + 1, at + SCANNED):  # compiles to vector code
            together |= words[word]
        if together == 0:
            continue
        if found > SLACK + 8 * at // MOST_NONZERO - 8 * SCANNED:
            return -1, 0
        for word in range(at, at + SCANNED):
            if words[word] == 0:
                continue
            for i in range(8 * word, 8 * word + 8):
                value = row[i]
                if value:
                    if i != end:
                        first[runs] = i
                        runs += 1
                    end = i + 1
                    after[runs - 1] = end
                    found += 1
                    total += value
                    weighted += value * (len(row) - i)
    return runs, ((len(row) + weighted) % 65521) << 16 | (1 + total) % 65521


@kernel
def _encode(row, first, after, tokens):  # type: ignore[no-untyped-def]
    """Write ``tokens`` int64 (M,) behind the header. Returns their number, header included."""
    count = len(HEADER)
    done = run = 0  # bytes encoded, runs encoded
    group = -1
    while run < len(first):
        like = run - 1  # the run that this one may repeat
        if run == 0 or first[run] - after[run - 1] >= GROUP_GAP:
            like, group = group, run
        count = _zeros(first[run] - done, tokens, count)
        done = first[run]
        distance = done - first[like]
        same = _repeated(row, first, after, like, run) if like >= 0 and distance <= WINDOW else 0
        if same and after[run + same - 1] - done >= SHORTEST:
            run += same
            count, done = _match(after[run - 1] - done, distance, done, tokens, count)
        else:
            run += 1
        for i in range(done, after[run - 1]):
            tokens[count] = LITERALS[row[i]]
            count += 1
        done = after[run - 1]
    return _zeros(len(row) - done, tokens, count)


@kernel
def _repeated(row, first, after, like, run):  # type: ignore[no-untyped-def]
    """How many runs from ``run`` on equal those from ``like`` on, all at one distance."""
    distance = first[run] - first[like]
    for same in range(len(first) - run):
        start, stop = first[run + same], after[run + same]
        if start - first[like + same] != distance or stop - after[like + same] != distance:
            return same
        for i in range(start, stop):
            if row[i] != row[i - distance]:
                return same
    return len(first) - run


@kernel
def _zeros(number, tokens, count):  # type: ignore[no-untyped-def]
    """``number`` zeros: one, more by repeating it, and once there are ``FAR`` by repeating those."""
    matches = NEAR_ZEROS
    if number > 3:
        tokens[count] = LITERALS[0]
        count += 1
        number -= 1
        if number >= FAR + 2:
            tokens[count] = matches[FAR - 1]
            count += 1
            number -= FAR - 1
            matches = FAR_ZEROS
        while number >= 3:
            length = min(number, LONGEST)
            tokens[count] = matches[length]
            count += 1
            number -= length
    for _ in range(number):
        tokens[count] = LITERALS[0]
        count += 1
    return count


@kernel
def _match(number, distance, done, tokens, count):  # type: ignore[no-untyped-def]
    """``number`` bytes from ``done`` on as they were ``distance`` before, but for the last two at most."""
    low, extra = distance - 1, 0
    while low >> extra >= 4:
        extra += 1
    symbol = (low >> extra) + 2 * extra
    low &= (1 << extra) - 1
    size = DISTANCE_SIZES[symbol]
    while number >= 3:
        length = min(number, LONGEST)
        tokens[count] = MATCHES[length]
        tokens[count + 1] = DISTANCE_CODES[symbol] | low << size | (size + extra) << 32
        count += 2
        number -= length
        done += length
    return count, done


@kernel
def _pack(tokens, adler, out):  # type: ignore[no-untyped-def]
    """Write the bits of all tokens, the end and the checksum to ``out`` uint32. Returns the bytes of the stream."""
    at, waiting, size = 0, 0, 0
    for token in tokens:
        waiting |= (token & 0xFFFFFFFF) << size  # at most 31 bits, to at most 31 that wait
        size += token >> 32
        out[at] = waiting & 0xFFFFFFFF
        full = size >> 5  # 0 or 1; no branch, as none could be predicted
        at += full
        waiting >>= full << 5
        size &= 31
    waiting |= CODES[END] << size
    size += SIZES[END]
    size += -size % 8
    for shift in (24, 16, 8, 0):
        if size >= 32:
            out[at] = waiting & 0xFFFFFFFF
            at += 1
            waiting >>= 32
            size -= 32
        waiting |= (adler >> shift & 255) << size
        size += 8
    out[at], out[at + 1] = waiting & 0xFFFFFFFF, waiting >> 32
    return 4 * at + size // 8

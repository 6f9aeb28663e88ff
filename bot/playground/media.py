"""Just enough of the formats: is it Opus, how long is it, how large is the picture."""

import asyncio
import struct
import tempfile

import imageio_ffmpeg

from bot.playground.errors import CustomerError

CONVERSION_LIMIT_S = 60.0

# What browsers and phones record. Naming the formats keeps ffmpeg away from playlists, which
# would make it open other files or addresses.
_FORMATS = "aac,aiff,amr,caf,flac,matroska,mov,mp3,ogg,wav"


def is_opus(data: bytes) -> bool:
    """Say whether the bytes are OGG/Opus, Telegram's format of voice notes."""
    return data.startswith(b"OggS") and b"OpusHead" in data[:512]


def opus_seconds(data: bytes) -> int:
    """Return the length of an OGG/Opus file, from the clock of its last page."""
    page = data.rfind(b"OggS")
    if len(data) < page + 14:
        return 0
    samples: int = struct.unpack_from("<q", data, page + 6)[0]
    return max(0, round(samples / 48_000))


async def to_opus(data: bytes) -> bytes:
    """Convert a recording to OGG/Opus as Telegram's apps send it."""
    with tempfile.NamedTemporaryFile() as source:  # some formats can't be read from a pipe
        source.write(data)
        source.flush()
        process = await asyncio.create_subprocess_exec(
            imageio_ffmpeg.get_ffmpeg_exe(),
            *("-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe"),
            *("-format_whitelist", _FORMATS, "-i", source.name),
            *("-map", "0:a:0", "-ac", "1", "-ar", "48000", "-c:a", "libopus", "-b:a", "32k"),
            *("-f", "ogg", "pipe:1"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            opus, _ = await asyncio.wait_for(process.communicate(), CONVERSION_LIMIT_S)
        except TimeoutError:
            opus = b""
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode or not is_opus(opus):
        raise CustomerError(400, "소리로 읽을 수 없는 파일입니다.")
    return opus


def image_size(data: bytes) -> tuple[str, int, int] | None:
    """Return type, width and height of a PNG or JPEG, `None` for anything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return "image/png", width, height
    if not data.startswith(b"\xff\xd8"):
        return None
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker, length = struct.unpack_from(">BH", data, position + 1)
        # Start-of-frame markers, without the three of the range that are tables.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, position + 5)
            return "image/jpeg", width, height
        position += 2 + length
    return None

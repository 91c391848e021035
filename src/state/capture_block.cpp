// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "state/capture_block.hpp"

#include <fcntl.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>

#include "state/directory.hpp"
#include "state/format.hpp"

namespace walign::state {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kHeadBytes = 12;  // stored, raw, crc

void put_u32(std::string& out, std::uint32_t value) {
  for (const unsigned shift : {24U, 16U, 8U, 0U}) out += static_cast<char>((value >> shift) & 0xFFU);
}

std::uint32_t crc_of(std::string_view lengths, std::string_view bytes) {
  const auto add = [](uLong crc, std::string_view text) {
    return crc32_z(crc, reinterpret_cast<const Bytef*>(text.data()), text.size());
  };
  return static_cast<std::uint32_t>(add(add(crc32_z(0, nullptr, 0), lengths), bytes));
}

}  // namespace

std::string segment_magic(const SegmentKind& kind) { return cat(kind.magic, std::string(1, char{kFormat})); }

std::string segment_path(const std::string& directory, std::uint32_t segment, const SegmentKind& kind) {
  std::string number = std::to_string(segment);
  number.insert(0, number.size() < 8 ? 8 - number.size() : 0, '0');
  return cat(directory, "/", number, kind.suffix);
}

std::vector<std::uint32_t> list_segments(const std::string& directory, const SegmentKind& kind) {
  std::vector<std::uint32_t> out;
  std::error_code error;
  if (!fs::exists(directory, error)) return out;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() != kind.suffix) continue;
    const std::string stem = it->path().stem();
    std::uint32_t number = 0;
    const auto [at, bad] = std::from_chars(stem.data(), stem.data() + stem.size(), number);
    if (bad == std::errc() && at == stem.data() + stem.size() && number > 0) out.push_back(number);
  }
  if (error) throw os_error("read directory", directory, error.value());
  std::sort(out.begin(), out.end());
  return out;
}

std::string encode_block(const google::protobuf::MessageLite& message, const SegmentKind& kind) {
  const std::string raw = message.SerializeAsString();
  std::string stored(ZSTD_compressBound(raw.size()), '\0');
  const std::size_t size = ZSTD_compress(stored.data(), stored.size(), raw.data(), raw.size(), kind.level);
  WALIGN_CHECK(ZSTD_isError(size) == 0);
  stored.resize(size);
  std::string out;
  put_u32(out, static_cast<std::uint32_t>(stored.size()));
  put_u32(out, static_cast<std::uint32_t>(raw.size()));
  put_u32(out, crc_of(out, stored));
  return out + stored;
}

BlockReader::BlockReader(const std::string& path, const SegmentKind& kind)
    : kind_(kind), file_(path, O_RDONLY), size_(file_.size()) {
  const std::string magic = file_.read(0, kind.magic.size() + 1);
  if (kind.magic.substr(0, magic.size()) != std::string_view(magic).substr(0, kind.magic.size())) {
    throw Error(ErrorKind::storage, cat(path, " is not a segment of ", kind.owner),
                "its first 7 bytes are others: it is damaged, or was made by another program");
  }
  if (magic.size() <= kind.magic.size()) {
    torn_ = cat(path, " ends inside its first 8 bytes");
    return;
  }
  format_ = static_cast<unsigned char>(magic.back());
  try {
    require_known_format(format_, path);
  } catch (const Error& error) {
    throw Error(ErrorKind::storage, error.message(), error.hint());
  }
  offset_ = magic.size();
}

bool BlockReader::cut_short(const std::string& what) {
  torn_ = cat(file_.path(), " is cut short at offset ", offset_, ": ", what);
  return false;
}

void BlockReader::damaged(const std::string& what) const {
  throw Error(ErrorKind::storage, cat(file_.path(), ", block at offset ", offset_, ": ", what), kind_.remedy);
}

std::string BlockReader::payload(std::uint32_t raw, const std::string& stored) const {
  const auto frame = ZSTD_getFrameContentSize(stored.data(), stored.size());
  if (frame != raw) damaged("its length is another than its head says");
  std::string bytes(raw, '\0');
  const std::size_t size = ZSTD_decompress(bytes.data(), bytes.size(), stored.data(), stored.size());
  if (ZSTD_isError(size) != 0) damaged(cat("it cannot be decompressed: ", ZSTD_getErrorName(size)));
  if (size != raw) damaged("its length is another than its head says");
  return bytes;
}

bool BlockReader::next(google::protobuf::MessageLite& message) {
  if (!torn_.empty() || offset_ == size_) return false;
  const std::string head = file_.read(offset_, kHeadBytes);
  if (head.size() < kHeadBytes) return cut_short("inside the head of a block");
  ByteReader reader(as_bytes(head));
  const std::uint32_t stored = reader.u32("stored length");
  const std::uint32_t raw = reader.u32("raw length");
  const std::uint32_t crc = reader.u32("checksum");
  if (stored > size_ - offset_ - kHeadBytes) return cut_short("inside a block");
  const std::string bytes = file_.read(offset_ + kHeadBytes, stored);
  if (crc_of(std::string_view(head).substr(0, 8), bytes) != crc) {
    // What a power loss leaves: the file's length is on disk, not all of its bytes.
    if (offset_ + kHeadBytes + stored == size_) return cut_short("its last block has another checksum");
    damaged("its checksum is another");
  }
  std::string read = payload(raw, bytes);
  if (format_ != kFormat) read = upgraded(message.GetTypeName(), std::move(read), format_);
  if (!message.ParseFromString(read)) damaged(cat("it is no message of ", kind_.owner));
  offset_ += kHeadBytes + stored;
  return true;
}

}  // namespace walign::state

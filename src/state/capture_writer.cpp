// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>

#include <filesystem>

#include "state/capture_block.hpp"
#include "state/directory.hpp"

namespace walign::state {

namespace {

constexpr std::size_t kBlockBytes = std::size_t{256} << 10U;  // of frames, before compression

// What must be equal for a capture to go on.
std::string origin_of(const v1::CaptureHeader& header) {
  return cat("system identifier ", header.source_system_id(), ", timeline ", header.source_timeline(),
             ", database ", header.source_database(), ", slot ", header.slot(), ", protocol version ",
             header.protocol_version());
}

class Writer final : public CaptureWriter {
 public:
  Writer(std::string directory, v1::CaptureHeader origin, std::int64_t segment_bytes)
      : directory_(std::move(directory)), header_(std::move(origin)), segment_bytes_(segment_bytes) {}

  void begin(std::uint32_t segment, Lsn from, std::uint32_t needs, bool new_connection) {
    require_room(directory_, kRoomBytes);
    header_.set_segment(segment);
    header_.set_from_lsn(from.value);
    header_.set_needs_segment(needs);
    header_.set_new_connection(new_connection);
    header_.set_began_at_us(Clock::system().unix_micros());
    file_ = std::make_unique<File>(segment_path(directory_, segment), O_WRONLY | O_CREAT | O_EXCL | O_APPEND,
                                   0600);
    const std::string beginning = segment_magic() + encode_block(header_);
    file_->write(beginning);
    written_ = static_cast<std::int64_t>(beginning.size());
    file_->sync();
    sync_directory(directory_);
  }

  void add(v1::CaptureFrame frame) override {
    pending_bytes_ += frame.payload().size() + sizeof(v1::CaptureFrame);
    *pending_.add_frames() = std::move(frame);
    if (pending_bytes_ >= kBlockBytes) write_block();
  }

  void sync() override {
    write_block();
    file_->sync();
  }

  [[nodiscard]] bool full() const override { return written_ >= segment_bytes_; }

  void next_segment(Lsn from, std::uint32_t needs_segment,
                    std::vector<v1::CaptureFrame> descriptions) override {
    sync();
    begin(header_.segment() + 1, from, needs_segment, false);
    for (auto& frame : descriptions) {
      frame.set_repeated(true);
      add(std::move(frame));
    }
  }

  [[nodiscard]] std::uint32_t segment() const override { return header_.segment(); }
  v1::CaptureHeader& next_header() override { return header_; }

 private:
  void write_block() {
    if (pending_.frames_size() == 0) return;
    const std::string block = encode_block(pending_);
    file_->write(block);
    written_ += static_cast<std::int64_t>(block.size());
    pending_.Clear();
    pending_bytes_ = 0;
    if ((unlooked_ += block.size()) < kRoomBytes / 4) return;
    unlooked_ = 0;
    require_room(directory_, kRoomBytes);
  }

  const std::string directory_;
  v1::CaptureHeader header_;
  const std::int64_t segment_bytes_;
  std::unique_ptr<File> file_;
  std::int64_t written_ = 0;
  std::uint64_t unlooked_ = 0;
  v1::CaptureBlock pending_;
  std::size_t pending_bytes_ = 0;
};

// What a kill left at the end of the newest segment goes; a segment without a header goes whole.
void cut_torn(const std::string& directory, std::uint32_t segment,
              const std::function<void(std::string)>& note) {
  const std::string path = segment_path(directory, segment);
  BlockReader reader(path);
  v1::CaptureHeader header;
  if (!reader.next(header)) {
    note(cat(path, " has no header, as when its making was cut short: removed"));
    std::filesystem::remove(path);
    sync_directory(directory);
    return;
  }
  v1::CaptureBlock block;
  while (reader.next(block)) {
  }
  if (reader.torn().empty()) return;
  const File file(path, O_WRONLY);
  note(
      cat(reader.torn(), "; ", file.size() - reader.offset(), " bytes cut off: the source sends them again"));
  file.truncate(reader.offset());
  file.sync();
}

}  // namespace

std::unique_ptr<CaptureWriter> CaptureWriter::open(const std::string& directory,
                                                   const v1::CaptureHeader& origin, Lsn from,
                                                   std::int64_t segment_bytes,
                                                   const std::function<void(std::string)>& note) {
  make_directories(directory);
  auto segments = list_segments(directory);
  if (!segments.empty()) {
    cut_torn(directory, segments.back(), note);
    segments = list_segments(directory);
  } else if (!std::filesystem::is_empty(directory)) {
    throw Error(ErrorKind::precondition, cat("directory ", directory, " has files and no capture"),
                "name an empty directory, or one that is not there yet");
  }
  std::uint32_t next = 1;
  if (!segments.empty()) {
    const CaptureReader before(directory);
    const auto& last = before.segments().back();
    if (origin_of(last) != origin_of(origin)) {
      throw Error(ErrorKind::precondition,
                  cat("the capture in ", directory, " is of ", origin_of(last), "; this one is of ",
                      origin_of(origin)),
                  "name another directory for it");
    }
    next = last.segment() + 1;
  }
  auto writer = std::make_unique<Writer>(directory, origin, segment_bytes);
  std::uint32_t needs = next;
  for (const auto& prepared : origin.prepared()) needs = std::min(needs, prepared.segment());
  writer->begin(next, from, needs, true);
  return writer;
}

}  // namespace walign::state

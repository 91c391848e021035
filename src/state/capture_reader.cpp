// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include <filesystem>

#include "state/capture_block.hpp"

namespace walign::state {

struct CaptureReader::Impl {
  explicit Impl(std::string its_directory) : directory(std::move(its_directory)) {
    for (const auto number : list_segments(directory)) read_header(number);
    if (headers.empty()) {
      throw Error(ErrorKind::precondition, cat("there is no capture in ", directory),
                  "`walign capture` records one; its segments are called 00000001.capture and so on");
    }
  }

  void read_header(std::uint32_t number) {
    const std::string path = segment_path(directory, number);
    if (!headers.empty() && number != headers.back().segment() + 1) {
      throw Error(
          ErrorKind::precondition,
          cat("segment ", headers.back().segment() + 1, " of the capture in ", directory, " is missing"),
          "put it back: a stream with a hole cannot be replayed");
    }
    BlockReader its(path);
    v1::CaptureHeader header;
    if (!its.next(header)) {
      if (list_segments(directory).back() == number) {
        torn = its.torn().empty() ? cat(path, " has no header") : its.torn();
        return;
      }
      throw Error(ErrorKind::storage, cat(path, " has no header"),
                  "take the file from a backup, or capture again");
    }
    if (header.segment() != number) {
      throw Error(ErrorKind::storage, cat(path, " says that it is segment ", header.segment()),
                  "give the files their own names again");
    }
    if (header.needs_segment() == 0 || header.needs_segment() > number) {
      throw Error(
          ErrorKind::storage,
          cat(path, " says that it needs segment ", header.needs_segment(), ", which is no earlier one"),
          "take the file from a backup, or capture again");
    }
    headers.push_back(std::move(header));
  }

  // Whether there is another one.
  bool open_next() {
    if (at == headers.size()) return false;
    current = at++;
    reader = std::make_unique<BlockReader>(segment_path(directory, headers[current].segment()));
    v1::CaptureHeader header;
    reader->next(header);
    first = true;
    return true;
  }

  bool next_block() {
    for (;;) {
      if (reader && reader->next(block)) return true;
      if (reader && !reader->torn().empty()) {
        if (at != headers.size()) {
          throw Error(ErrorKind::storage, reader->torn(),
                      "there are later segments: take this one from a backup, or capture again");
        }
        torn = reader->torn();
        return false;
      }
      if (!open_next()) return false;
    }
  }

  const v1::CaptureFrame* next() {
    first = false;
    while (next_frame == block.frames_size()) {
      next_frame = 0;
      block.Clear();
      if (!next_block()) return nullptr;
    }
    return &block.frames(next_frame++);
  }

  const std::string directory;
  std::vector<v1::CaptureHeader> headers;
  std::size_t at = 0;       // the segment that is opened next
  std::size_t current = 0;  // the open one
  std::unique_ptr<BlockReader> reader;
  v1::CaptureBlock block;
  int next_frame = 0;
  bool first = false;
  std::string torn;
};

CaptureReader::CaptureReader(std::string directory) : impl_(std::make_unique<Impl>(std::move(directory))) {}
CaptureReader::~CaptureReader() = default;

const std::vector<v1::CaptureHeader>& CaptureReader::segments() const { return impl_->headers; }

void CaptureReader::seek(std::uint32_t segment) {
  auto& i = *impl_;
  const auto found = std::find_if(i.headers.begin(), i.headers.end(),
                                  [&](const auto& header) { return header.segment() == segment; });
  WALIGN_CHECK(found != i.headers.end());
  i.at = static_cast<std::size_t>(found - i.headers.begin());
  i.reader.reset();
  i.block.Clear();
  i.next_frame = 0;
}

const v1::CaptureFrame* CaptureReader::next() { return impl_->next(); }
const v1::CaptureHeader& CaptureReader::header() const { return impl_->headers[impl_->current]; }
bool CaptureReader::first_of_segment() const { return impl_->first; }
const std::string& CaptureReader::torn() const { return impl_->torn; }

}  // namespace walign::state

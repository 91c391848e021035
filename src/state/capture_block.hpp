// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Segments of a capture or of the journal: see include/walign/capture.hpp, include/walign/journal.hpp.
#pragma once

#include "state/file.hpp"
#include "walign/capture.hpp"

namespace walign::state {

// What tells one kind of segments from another.
struct SegmentKind {
  std::string_view magic;  // 7 bytes, before the format
  const char* suffix;
  const char* owner;   // "a capture"
  const char* remedy;  // for damage
  int level;           // zstd's
};
inline constexpr SegmentKind kCaptureSegments{{"walcap\0", 7},
                                              ".capture",
                                              "a capture",
                                              "the file was damaged after it was written: take it from a "
                                              "backup, or capture again; segments before it can "
                                              "be read",
                                              3};

// How a segment begins.
std::string segment_magic(const SegmentKind& kind = kCaptureSegments);

std::string segment_path(const std::string& directory, std::uint32_t segment,
                         const SegmentKind& kind = kCaptureSegments);
// Numbers of the segments that are there, ascending.
std::vector<std::uint32_t> list_segments(const std::string& directory,
                                         const SegmentKind& kind = kCaptureSegments);

std::string encode_block(const google::protobuf::MessageLite& message,
                         const SegmentKind& kind = kCaptureSegments);

// Reads the blocks of one segment, one after the other.
class BlockReader {
 public:
  // Throws Error(storage) where the file does not begin as a segment does, or is of a newer format; a file that is a
  // beginning of that is torn.
  explicit BlockReader(const std::string& path, const SegmentKind& kind = kCaptureSegments);

  // False at the end, or where the rest is cut short: then torn() says what is left. Damage is Error(storage).
  bool next(google::protobuf::MessageLite& message);
  [[nodiscard]] const std::string& torn() const { return torn_; }
  // Of the block that comes next; where what is torn is to be cut off.
  [[nodiscard]] std::uint64_t offset() const { return offset_; }

 private:
  bool cut_short(const std::string& what);
  [[noreturn]] void damaged(const std::string& what) const;
  std::string payload(std::uint32_t raw, const std::string& stored) const;

  const SegmentKind& kind_;
  File file_;
  std::uint64_t size_;
  unsigned format_ = 0;
  std::uint64_t offset_ = 0;
  std::string torn_;
};

}  // namespace walign::state

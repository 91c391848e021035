// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// capture: a recorded replication stream on disk. A part of module state; it knows frames, not what they mean.
//
//   DIRECTORY/00000001.capture, 00000002.capture, ...    segments
//
//   segment := magic block(CaptureHeader) block(CaptureBlock)*
//   magic   := "walcap" 0x00 format:u8          (src/state/format.hpp)
//   block   := stored:u32 raw:u32 crc:u32 bytes*stored
//
// Integers are big-endian. The bytes are the message's, zstd-compressed; `raw` is its length before that, and `crc`
// the CRC-32 of the two lengths and the bytes.
//
// Invariants
//  1. After sync() everything that was added is on disk (fsync), the directory's entry included.
//  2. A segment that is cut short, as a kill leaves it, is good up to its last whole block; open() cuts the rest off
//     and says so. Damage anywhere else is Error(storage) with file and offset, never skipped.
//  3. Reading may begin at any segment whose needs_segment is itself; what is prepared outlives the connection.
//     Descriptions of tables and types are repeated at each one's beginning, marked.
//
// Threads: an object belongs to one.
#pragma once

#include <memory>

#include "walign/base.hpp"
#include "walign/v1/capture.pb.h"

namespace walign::state {

inline constexpr std::int64_t kCaptureSegmentBytes = std::int64_t{64} << 20U;

class CaptureWriter {
 public:
  // Begins a capture in a directory that is empty or not there, or goes on with one of the same source, slot and
  // protocol (Error(precondition) otherwise), in a new segment with new_connection. `note` is told of what was cut.
  // `origin` has what is said in every header, the catalog and what is prepared included.
  static std::unique_ptr<CaptureWriter> open(const std::string& directory, const v1::CaptureHeader& origin,
                                             Lsn from, std::int64_t segment_bytes,
                                             const std::function<void(std::string)>& note);
  virtual ~CaptureWriter() = default;

  virtual void add(v1::CaptureFrame frame) = 0;
  // Writes what was added and waits until it is on disk.
  virtual void sync() = 0;
  // The segment is as large as it should become; the caller ends it between two transactions.
  [[nodiscard]] virtual bool full() const = 0;
  // `descriptions`: frames, which are marked as repeated.
  virtual void next_segment(Lsn from, std::uint32_t needs_segment,
                            std::vector<v1::CaptureFrame> descriptions) = 0;
  [[nodiscard]] virtual std::uint32_t segment() const = 0;
  // For what the next segments' headers say: the catalog, and what is prepared.
  virtual v1::CaptureHeader& next_header() = 0;

 protected:
  CaptureWriter() = default;
};

class CaptureReader {
 public:
  // Reads every segment's header. Error(precondition) where there is no capture, or one of its segments is missing.
  explicit CaptureReader(std::string directory);
  ~CaptureReader();
  CaptureReader(const CaptureReader&) = delete;
  CaptureReader& operator=(const CaptureReader&) = delete;

  // One for each segment, in order.
  [[nodiscard]] const std::vector<v1::CaptureHeader>& segments() const;
  // The next frame is the first of that segment (a number, as in its header).
  void seek(std::uint32_t segment);
  // Borrowed until the next call; null at the end. Throws Error(storage) for damage.
  const v1::CaptureFrame* next();
  // Of the segment that the frame is in.
  [[nodiscard]] const v1::CaptureHeader& header() const;
  [[nodiscard]] bool first_of_segment() const;  // the frame that next() gave last
  // What is cut short at the end of the last segment; empty if nothing is.
  [[nodiscard]] const std::string& torn() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace walign::state

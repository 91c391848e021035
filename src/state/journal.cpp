// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The writer.
//
// Blocks hold whole transactions, or parts of one: a transaction in several parts begins a block, so that what was not
// received whole can be cut off a file at the end of a block.
#include "walign/journal.hpp"

#include <fcntl.h>

#include <filesystem>
#include <unordered_map>

#include "state/directory.hpp"
#include "state/journal_segment.hpp"

namespace walign::state {

namespace {

constexpr std::size_t kPartsBytes = std::size_t{256} << 10U;  // of parts, before compression
constexpr std::int64_t kSegmentsKept = 16;                    // about so many make up what is kept
constexpr std::int64_t kSmallestSegment = std::int64_t{64} << 10U;
constexpr std::int64_t kLargestSegment = std::int64_t{64} << 20U;

bool same_origin(const v1::JournalHeader& a, const v1::JournalHeader& b) {
  return a.source_system_id() == b.source_system_id() && a.source_timeline() == b.source_timeline() &&
         a.source_database() == b.source_database() && a.slot() == b.slot();
}

class Files final : public Journal {
 public:
  Files(const std::string& directory, v1::JournalHeader origin, JournalLimits limits,
        std::function<void(std::string)> note)
      : state_(directory),
        directory_(journal_directory(directory)),
        header_(std::move(origin)),
        limits_(limits),
        segment_bytes_(std::clamp(limits.keep_bytes / kSegmentsKept, kSmallestSegment, kLargestSegment)),
        note_(std::move(note)) {
    make_directories(directory_);
    go_on();
  }

  [[nodiscard]] JournalReach reach() const override {
    if (segments_.empty()) return {};
    JournalReach reach{segments_.front().from, to_, static_cast<std::uint64_t>(written_),
                       segments_.front().began_at_us};
    for (std::size_t i = 0; i + 1 < segments_.size(); ++i) reach.bytes += segments_[i].bytes;
    return reach;
  }
  [[nodiscard]] Lsn durable_to() const override { return durable_to_; }
  [[nodiscard]] std::uint32_t numbering() const override { return numbering_; }

  void begin(Lsn from) override {
    clear();
    to_ = from;
    begin_segment();
  }

  void clear() override {
    file_.reset();
    pending_.Clear();
    pending_bytes_ = 0;
    open_ = false;
    while (!segments_.empty()) remove_oldest();
    to_ = durable_to_ = Lsn();
    written_ = 0;
  }

  void between() override {
    WALIGN_CHECK(!segments_.empty());
    cut_incomplete();
    const bool old = Clock::system().unix_micros() - segments_.back().began_at_us >
                     std::chrono::microseconds(limits_.keep_for).count() / kSegmentsKept;
    if (!other_segment_ && written_ < segment_bytes_ && !old) return;
    if (to_ == segments_.back().from && !other_segment_) return;  // it is empty
    sync();
    begin_segment();
  }

  std::uint32_t relation(const std::string& description) override {
    WALIGN_CHECK(!other_segment_);
    const auto [at, is_new] = relations_.try_emplace(description, next_relation_);
    if (is_new) {
      auto* its = pending_.add_relations();
      its->set_number(next_relation_++);
      its->set_description(description);
      pending_bytes_ += description.size();
    }
    return at->second;
  }

  void add(v1::JournalPart part) override {
    WALIGN_CHECK(!segments_.empty() && !other_segment_);
    WALIGN_CHECK(open_ ? part.part() > 0 : part.part() == 0 && Lsn(part.commit_lsn()) >= to_);
    if (!open_ && !part.last()) write_block();
    open_ = !part.last();
    if (part.last()) {
      WALIGN_CHECK(part.end_lsn() > part.commit_lsn());
      to_ = Lsn(part.end_lsn());
    }
    pending_bytes_ += part.transaction().size() + sizeof(v1::JournalPart);
    *pending_.add_parts() = std::move(part);
    if (pending_bytes_ >= kPartsBytes) write_block();
  }

  void pass(Lsn position) override {
    WALIGN_CHECK(!segments_.empty());
    cut_incomplete();
    if (position <= to_) return;
    to_ = position;
    pending_.set_passed_lsn(position.value);
  }

  void sync() override {
    if (segments_.empty()) return;
    write_block();
    if (std::exchange(unsynced_, false)) file_->sync();
    durable_to_ = to_;
  }

  void trim(Lsn target_durable, std::int64_t now_us) override {
    const auto keep_us = std::chrono::microseconds(limits_.keep_for).count();
    while (segments_.size() > 1 && segments_[1].from <= target_durable) {
      const bool large = reach().bytes > static_cast<std::uint64_t>(limits_.keep_bytes);
      if (!large && now_us - segments_[1].began_at_us <= keep_us) return;
      remove_oldest();
    }
  }

 private:
  struct Segment {
    std::uint32_t number = 0;
    Lsn from;
    std::int64_t began_at_us = 0;
    std::uint64_t bytes = 0;  // of all but the newest, which has written_
  };

  [[nodiscard]] std::string path_of(std::uint32_t number) const {
    return segment_path(directory_, number, kJournalSegments);
  }

  // What an earlier writer left.
  void go_on() {
    for (auto numbers = list_segments(directory_, kJournalSegments); !numbers.empty(); numbers.pop_back()) {
      const auto scan = scan_segment(path_of(numbers.back()));
      last_number_ = std::max(last_number_, numbers.back());
      if (!scan.header) {
        note_(cat(scan.rest, ": its making was cut short, removed"));
        remove_file(numbers.back());
        continue;
      }
      list(read_headers(directory_));
      if (!same_origin(*scan.header, header_)) {
        note_(cat("the journal in ", directory_, " is of another source or slot: emptied"));
        return clear();
      }
      return go_on_with(scan);
    }
  }

  void list(const std::vector<v1::JournalHeader>& headers) {
    for (const auto& header : headers) {
      segments_.push_back({header.segment(), Lsn(header.from_lsn()), header.began_at_us(),
                           File(path_of(header.segment()), O_RDONLY).size()});
    }
  }

  void go_on_with(const JournalScan& scan) {
    file_ = std::make_unique<File>(path_of(segments_.back().number), O_WRONLY | O_APPEND);
    if (!scan.rest.empty()) {
      note_(cat(scan.rest, "; ", file_->size() - scan.whole_bytes,
                " bytes cut off: the source sends them again"));
      file_->truncate(scan.whole_bytes);
    }
    file_->sync();  // what a killed writer left may not be on disk yet
    written_ = whole_ = static_cast<std::int64_t>(scan.whole_bytes);
    to_ = durable_to_ = scan.to;
    other_segment_ = true;  // which tables this one describes is not known
  }

  void begin_segment() {
    require_room(state_, kRoomBytes);
    header_.set_segment(++last_number_);
    header_.set_from_lsn(to_.value);
    header_.set_began_at_us(Clock::system().unix_micros());
    auto file = std::make_unique<File>(path_of(last_number_), O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0600);
    const std::string beginning = segment_magic(kJournalSegments) + encode_block(header_, kJournalSegments);
    file->write(beginning);
    file->sync();
    sync_directory(directory_);
    if (!segments_.empty()) segments_.back().bytes = static_cast<std::uint64_t>(written_);
    segments_.push_back({last_number_, to_, header_.began_at_us(), 0});
    file_ = std::move(file);
    written_ = whole_ = static_cast<std::int64_t>(beginning.size());
    durable_to_ = to_;
    forget_numbers();
    other_segment_ = false;
  }

  void forget_numbers() {
    relations_.clear();
    ++numbering_;
  }

  void cut_incomplete() {
    if (!std::exchange(open_, false)) return;
    pending_.Clear();  // of that transaction alone
    pending_bytes_ = 0;
    file_->truncate(static_cast<std::uint64_t>(whole_));
    written_ = whole_;
    forget_numbers();
  }

  void write_block() {
    if (pending_.parts_size() > 0 || pending_.relations_size() > 0 || pending_.passed_lsn() > 0) {
      const std::string block = encode_block(pending_, kJournalSegments);
      file_->write(block);
      written_ += static_cast<std::int64_t>(block.size());
      unsynced_ = true;
      pending_.Clear();
      pending_bytes_ = 0;
      look_for_room(block.size());
    }
    if (!open_) whole_ = written_;
  }

  void look_for_room(std::size_t bytes) {
    if ((unlooked_ += bytes) < kRoomBytes / 4) return;
    unlooked_ = 0;
    require_room(state_, kRoomBytes);
  }

  void remove_file(std::uint32_t number) {
    std::filesystem::remove(path_of(number));
    sync_directory(directory_);
  }
  void remove_oldest() {
    remove_file(segments_.front().number);
    segments_.pop_front();
  }

  const std::string state_;
  const std::string directory_;
  v1::JournalHeader header_;
  const JournalLimits limits_;
  const std::int64_t segment_bytes_;
  const std::function<void(std::string)> note_;

  std::deque<Segment> segments_;
  std::uint32_t last_number_ = 0;
  std::unique_ptr<File> file_;  // of the newest segment; null where there is none
  std::int64_t written_ = 0;    // its bytes
  std::int64_t whole_ = 0;      // those of them that hold whole transactions
  bool unsynced_ = false;
  bool other_segment_ = false;  // the newest segment is not added to
  Lsn to_;
  Lsn durable_to_;
  bool open_ = false;  // in the middle of a transaction
  v1::JournalBlock pending_;
  std::size_t pending_bytes_ = 0;
  std::unordered_map<std::string, std::uint32_t> relations_;
  std::uint32_t next_relation_ = 1;
  std::uint32_t numbering_ = 0;
  std::uint64_t unlooked_ = 0;
};

}  // namespace

std::unique_ptr<Journal> Journal::open(const std::string& directory, const v1::JournalHeader& origin,
                                       JournalLimits limits, std::function<void(std::string)> note) {
  return std::make_unique<Files>(directory, origin, limits, std::move(note));
}

}  // namespace walign::state

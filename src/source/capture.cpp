// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A slot into a capture: one thread, which reads frames, writes them, and acknowledges what is on disk.
#include <poll.h>

#include <array>

#include "protocol.hpp"
#include "recorder.hpp"
#include "walign/obs.hpp"
#include "walign/source.hpp"

namespace walign::source {

namespace {

using Steady = std::chrono::steady_clock;
constexpr auto kSyncEvery = std::chrono::seconds(1);
constexpr std::uint64_t kSyncBytes = 16U << 20U;

// What an earlier capture in this directory left prepared. One that cannot be gone on with is refused by the writer.
std::vector<v1::PreparedTransaction> prepared_before(const std::string& directory) {
  std::unique_ptr<state::CaptureReader> reader;
  try {
    reader = std::make_unique<state::CaptureReader>(directory);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::precondition) return {};
    throw;
  }
  const auto& last = reader->segments().back();
  Recorder recorder;
  recorder.go_on_with(last);
  reader->seek(last.segment());
  while (const auto* frame = reader->next()) {
    if (!frame->keepalive() && !frame->repeated()) recorder.take(as_bytes(frame->payload()), last.segment());
  }
  return recorder.prepared();
}

class Capture {
 public:
  explicit Capture(const CaptureOptions& options)
      : options_(options),
        connection_(as_replication(options.slot.connection)),
        protocol_(best_protocol(connection_.server_version(), true)),
        stream_(connection_, options.slot.slot, options.slot.from,
                plugin_options(options.slot.publications, protocol_, options.two_phase)),
        writer_(state::CaptureWriter::open(options.directory, header(), options.slot.from,
                                           options.segment_bytes,
                                           [](const std::string& note) { obs::warn(note); })) {
    if (options.two_phase && protocol_.version < 3) {
      throw Error(ErrorKind::precondition, "the source does not speak of transactions in two phases",
                  "capture without --two-phase: they come when they have committed");
    }
    recorder_.go_on_with(writer_->next_header());
    recorder_.passed(options.slot.from);
    saved_.position = options.slot.from;
  }

  CaptureProgress run() {
    while (!options_.stop->raised() && !(options_.until.valid() && saved_.position >= options_.until)) {
      bool asked = false;
      bool some = false;
      for (int frames = 0; frames < 4096; ++frames) {
        const auto frame = stream_.receive();
        if (!frame) break;
        some = true;
        asked = take(*frame) || asked;
      }
      const bool reached = options_.until.valid() && recorder_.position() >= options_.until;
      if (unsaved_ >= kSyncBytes || Steady::now() - synced_ >= kSyncEvery || reached) save();
      if (asked) stream_.send_status(recorder_.position(), saved_.position, saved_.position);
      if (!some) wait();
    }
    save();
    return saved_;
  }

 private:
  v1::CaptureHeader header() {
    auto header = options_.origin;
    header.set_slot(options_.slot.slot);
    header.clear_publications();
    for (const auto& name : options_.slot.publications) header.add_publications(name);
    header.set_server_version(static_cast<std::uint32_t>(connection_.server_version()));
    header.set_protocol_version(static_cast<std::uint32_t>(protocol_.version));
    header.set_parallel(protocol_.parallel);
    if (options_.catalog) *header.mutable_catalog() = options_.catalog();
    for (auto& prepared : prepared_before(options_.directory)) *header.add_prepared() = std::move(prepared);
    return header;
  }

  // Whether the server wants an answer.
  bool take(const pg::ReplicationFrame& frame) {
    const bool data = frame.kind == pg::ReplicationFrame::Kind::data;
    if (data && recorder_.between() && (catalog_changed() || writer_->full())) next_segment();
    if (data) {
      recorder_.take(frame.payload, writer_->segment());
    } else if (recorder_.between()) {
      recorder_.passed(frame.wal_end);
    }
    if (!data && frame.wal_end <= told_) return frame.reply_requested;  // says nothing new
    v1::CaptureFrame out;
    out.set_wal_end(frame.wal_end.value);
    out.set_server_time_us(frame.server_time_us);
    out.set_keepalive(!data);
    out.set_payload(frame.payload.data(), frame.payload.size());
    writer_->add(std::move(out));
    if (!data) told_ = frame.wal_end;
    ++saved_.frames;
    saved_.bytes += frame.payload.size();
    unsaved_ += frame.payload.size();
    return frame.reply_requested;
  }

  // A table that is not in the catalog, or is described otherwise than before: the segments from here on say how it is
  // now.
  bool catalog_changed() {
    if (!options_.catalog) return false;
    auto& header = writer_->next_header();
    const auto oids = recorder_.take_newly_described();
    const bool changed = std::any_of(oids.begin(), oids.end(), [&](std::uint32_t oid) {
      if (described_.insert(oid).second) {
        return std::none_of(header.catalog().tables().begin(), header.catalog().tables().end(),
                            [&](const auto& table) { return table.oid() == oid; });
      }
      return true;
    });
    if (changed) *header.mutable_catalog() = options_.catalog();
    return changed;
  }

  void next_segment() {
    auto& prepared = *writer_->next_header().mutable_prepared();
    prepared.Clear();
    for (auto& one : recorder_.prepared()) *prepared.Add() = std::move(one);
    std::vector<v1::CaptureFrame> descriptions;
    for (const auto& text : recorder_.descriptions()) descriptions.emplace_back().set_payload(text);
    writer_->next_segment(recorder_.position(), recorder_.oldest_needed(writer_->segment() + 1),
                          std::move(descriptions));
  }

  void save() {
    writer_->sync();
    synced_ = Steady::now();
    unsaved_ = 0;
    saved_.position = recorder_.position();
    saved_.transactions = recorder_.transactions();
    stream_.send_status(recorder_.position(), saved_.position, saved_.position);
    if (options_.progress) options_.progress(saved_);
  }

  void wait() {
    std::array<pollfd, 2> entries = {{{stream_.socket(), POLLIN, 0}, {options_.stop->fd(), POLLIN, 0}}};
    ::poll(entries.data(), entries.size(), 200);
  }

  const CaptureOptions& options_;
  pg::Connection connection_;
  const decode::Place protocol_;
  pg::ReplicationStream stream_;
  std::unique_ptr<state::CaptureWriter> writer_;
  Recorder recorder_;
  std::set<std::uint32_t> described_;  // tables (OIDs) that this connection has described
  CaptureProgress saved_;
  Lsn told_;  // by the newest keepalive that was kept
  std::uint64_t unsaved_ = 0;
  Steady::time_point synced_ = Steady::now();
};

}  // namespace

CaptureProgress capture(const CaptureOptions& options) {
  WALIGN_CHECK(options.stop != nullptr);
  try {
    return Capture(options).run();
  } catch (const Error& error) {
    throw explained(error);
  }
}

}  // namespace walign::source

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

class Capture {
 public:
  explicit Capture(const CaptureOptions& options)
      : options_(options),
        connection_(as_replication(options.slot.connection)),
        protocol_(best_protocol(connection_, true)),
        stream_(connection_, options.slot.slot, options.slot.from,
                plugin_options(options.slot.publications, protocol_)),
        writer_(state::CaptureWriter::open(options.directory, header(), options.slot.from,
                                           options.segment_bytes,
                                           [](const std::string& note) { obs::warn(note); })) {
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
    return header;
  }

  // Whether the server wants an answer.
  bool take(const pg::ReplicationFrame& frame) {
    const bool data = frame.kind == pg::ReplicationFrame::Kind::data;
    if (data && recorder_.between() && writer_->full()) next_segment();
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

  void next_segment() {
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

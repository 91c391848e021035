// A capture: the first byte chooses between the bytes of its only segment's file, and frames, each behind its length
// (two bytes), which are written as a capture writes them, so that the checksum does not end everything.
#include "fuzz.hpp"
#include "support/frames.hpp"
#include "walign/source.hpp"

namespace walign::fuzz {

namespace {

const Scratch& scratch() {
  static const Scratch one;
  return one;
}

void write_frames(const std::string& directory, unsigned protocol, std::string_view bytes) {
  v1::CaptureHeader origin;
  origin.set_protocol_version(1 + (protocol & 3U));
  origin.set_parallel((protocol & 4U) != 0);
  const auto writer = state::CaptureWriter::open(directory, origin, Lsn(1), state::kCaptureSegmentBytes,
                                                 [](const std::string&) {});
  while (bytes.size() >= 2) {
    const std::size_t size =
        static_cast<unsigned char>(bytes[0]) * 256U + static_cast<unsigned char>(bytes[1]);
    const auto payload = bytes.substr(2, size);
    v1::CaptureFrame frame;
    frame.set_payload(payload.data(), payload.size());
    frame.set_keepalive(payload.empty());
    frame.set_wal_end(size);
    writer->add(std::move(frame));
    bytes.remove_prefix(2 + payload.size());
  }
  writer->sync();
}

void read_all(const std::string& directory, const std::string& spill) {
  source::ReplayOptions options;
  options.directory = directory;
  options.spill_directory = spill;
  options.spill_above_bytes = 2000;
  const auto source = source::open_capture(options);
  while (!source->ended()) source->next(std::chrono::milliseconds(0));
}

}  // namespace

void one_input(std::string_view bytes) {
  if (bytes.empty()) return;
  const auto first = static_cast<unsigned char>(bytes[0]);
  bytes.remove_prefix(1);
  const std::string directory = scratch().fresh("capture");
  const std::string spill = scratch().fresh("spill");
  try {
    if (first < 128) {
      std::ofstream(directory + "/00000001.capture", std::ios::binary) << bytes;
    } else {
      write_frames(directory, first, bytes);
    }
    read_all(directory, spill);
  } catch (const Error& error) {
    check_refusal(error, false);
  }
}

std::vector<std::string> seeds() {
  std::vector<std::string> out;
  const auto add = [&](const std::string& name, unsigned protocol) {
    std::string frames_in(1, static_cast<char>(128U | protocol));
    std::size_t count = 0;
    for (const auto& frame : frames::read(name)) {
      if (frame.payload.size() > 1000 || ++count > 150) continue;
      frames_in += static_cast<char>(frame.payload.size() >> 8U);
      frames_in += static_cast<char>(frame.payload.size() & 0xFFU);
      frames_in += frame.payload;
    }
    out.push_back(frames_in);
    const std::string directory = scratch().fresh("seed");
    write_frames(directory, protocol, std::string_view(frames_in).substr(1, 3000));
    out.push_back(std::string(1, '\0') + read_file(directory + "/00000001.capture"));
  };
  add("pg15-v1-text", 0);
  for (const auto& one : frames::streamed_recordings()) {
    add(one.name, static_cast<unsigned>(one.version - 1) | (one.parallel ? 4U : 0U));
  }
  return out;
}

}  // namespace walign::fuzz

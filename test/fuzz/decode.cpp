// A stream of messages through decode and the assembler: a byte for the protocol, then each message behind its length
// (two bytes).
#include "fuzz.hpp"
#include "support/frames.hpp"
#include "walign/event.hpp"

namespace walign::fuzz {

namespace {

void check_part(event::TransactionPart& part) {
  for (const auto& change : part.tx().changes()) {
    for (const auto* row : {&change.new_row(), &change.old_row()}) event::validate(*row);
    const bool has_relation = change.has_new_row() || change.has_old_row();
    if (has_relation && change.relation() >= part.relations().size()) wrong("a change of no table");
  }
  part.make_self_contained();
  v1::Transaction read;
  if (!read.ParseFromString(part.tx().SerializeAsString())) wrong("a transaction that cannot be read again");
}

void check(event::Taken& taken) {
  if (auto* part = std::get_if<event::TransactionPart>(&taken)) check_part(*part);
  if (auto* running = std::get_if<event::RunningPart>(&taken)) check_part(running->part);
}

std::string stream_of(const std::vector<frames::Frame>& recording, char protocol, std::size_t from,
                      std::size_t end) {
  std::string out(1, protocol);
  for (std::size_t i = from; i < std::min(end, recording.size()); ++i) {
    const auto& payload = recording[i].payload;
    if (payload.size() > 2000) continue;
    out += static_cast<char>(payload.size() >> 8U);
    out += static_cast<char>(payload.size() & 0xFFU);
    out += payload;
  }
  return out;
}

}  // namespace

void one_input(std::string_view bytes) {
  if (bytes.empty()) return;
  const auto first = static_cast<unsigned char>(bytes[0]);
  const decode::Place protocol{1 + (first & 3U ? static_cast<int>(first & 3U) : 0), (first & 4U) != 0, false};
  event::Assembler assembler((first & 8U) != 0 ? 200 : std::size_t{1} << 20U, protocol);
  try {
    for (bytes.remove_prefix(1); bytes.size() >= 2;) {
      const std::size_t size =
          static_cast<unsigned char>(bytes[0]) * 256U + static_cast<unsigned char>(bytes[1]);
      bytes.remove_prefix(2);
      // A copy that ends where its memory ends.
      const std::vector<char> message(bytes.begin(),
                                      bytes.begin() + static_cast<long>(std::min(size, bytes.size())));
      bytes.remove_prefix(message.size());
      auto taken =
          assembler.take(decode::decode(as_bytes({message.data(), message.size()}), assembler.place()));
      check(taken);
    }
  } catch (const Error& error) {
    check_refusal(error, false);
  }
}

std::vector<std::string> seeds() {
  std::vector<std::string> out;
  const auto add = [&](const std::string& name, int version, bool parallel) {
    const auto recording = frames::read(name);
    const char protocol = static_cast<char>((version - 1) | (parallel ? 4 : 0));
    for (std::size_t from = 0; from < recording.size(); from += 40) {
      out.push_back(stream_of(recording, protocol, from, from + 60));
      out.push_back(stream_of(recording, static_cast<char>(protocol | 8), 0, from + 40));
      if (from > 400) break;
    }
  };
  for (const auto& name : frames::recordings()) add(name, 1, false);
  for (const auto& one : frames::streamed_recordings()) add(one.name, one.version, one.parallel);
  return out;
}

}  // namespace walign::fuzz

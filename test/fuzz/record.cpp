// A record of the state directory, as one of the messages that are kept there.
#include "state/record.hpp"

#include "fuzz.hpp"
#include "walign/state.hpp"

namespace walign::fuzz {

namespace {

template <class Message>
void try_as(std::string_view bytes) {
  try {
    Message message;
    state::decode_record(bytes, message);
    Message again;
    state::decode_record(state::encode_record(message), again);
    if (again.SerializeAsString() != message.SerializeAsString())
      wrong("a record that changes when it is written");
  } catch (const Error& error) {
    check_refusal(error, false);
  }
}

}  // namespace

void one_input(std::string_view bytes) {
  const std::string copy(bytes);
  try_as<v1::Identity>(copy);
  try_as<v1::Checkpoint>(copy);
  try_as<v1::Verification>(copy);
  try {
    if (state::encode_key(state::decode_key(copy)) != copy) wrong("a key that changes when it is written");
  } catch (const Error& error) {
    check_refusal(error, false);
  }
}

std::vector<std::string> seeds() {
  v1::Identity identity;
  identity.set_migration("m");
  identity.set_source_system_id("7300000000000000001");
  identity.set_source_timeline(3);
  identity.set_slot("walign_m");
  v1::Checkpoint checkpoint;
  checkpoint.set_durable_lsn(1ULL << 40U);
  checkpoint.set_phase("streaming");
  checkpoint.add_books()->set_table("public.a -> public.b");
  v1::Verification verification;
  verification.set_table("public.a -> public.b");
  verification.mutable_pass()->add_next_key("17");
  auto* difference = verification.add_kept();
  difference->set_kind(v1::Difference::EXTRA);
  difference->add_key()->set_column("id");
  return {state::encode_record(identity), state::encode_record(checkpoint),
          state::encode_record(verification), state::encode_key(Lsn(1ULL << 40U))};
}

}  // namespace walign::fuzz

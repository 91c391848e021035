// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/event.hpp"

namespace walign::event {

namespace {

// Most transactions are small: a first block that holds one with a change or two, and then blocks that
// double, up to a size which malloc still serves without a system call.
constexpr std::size_t kFirstBlockBytes = 768;
constexpr std::size_t kLargestBlockBytes = std::size_t{64} << 10U;

google::protobuf::ArenaOptions arena_options() {
  google::protobuf::ArenaOptions options;
  options.start_block_size = kFirstBlockBytes;
  options.max_block_size = kLargestBlockBytes;
  return options;
}

}  // namespace

TransactionPart::TransactionPart()
    : arena_(std::make_unique<google::protobuf::Arena>(arena_options())),
      tx_(google::protobuf::Arena::CreateMessage<v1::Transaction>(arena_.get())),
      memory_bytes_(sizeof(TransactionPart) + sizeof(google::protobuf::Arena) + kFirstBlockBytes) {}

std::uint32_t TransactionPart::add_relation(RelationPtr relation) {
  relations_.push_back(std::move(relation));
  return static_cast<std::uint32_t>(relations_.size() - 1);
}

void TransactionPart::make_self_contained() {
  const auto described = static_cast<std::size_t>(tx_->relations_size());
  for (std::size_t i = described; i < relations_.size(); ++i) {
    *tx_->add_relations() = *relations_[i];
    memory_bytes_ += relations_[i]->SpaceUsedLong();
  }
}

}  // namespace walign::event

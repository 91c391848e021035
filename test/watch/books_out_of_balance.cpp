// books_out_of_balance STATE_DIRECTORY MIGRATION: what a bug in walign would leave behind. In the newest checkpoint one
// more row of the first table was decoded than was applied, filtered, dropped or set aside.
#include <cstdio>

#include "walign/state.hpp"

int main(int count, char** arguments) {
  if (count != 3) return 2;
  try {
    const auto store = walign::state::Store::open(arguments[1], arguments[2]);
    auto checkpoint = store->newest_checkpoint();
    if (!checkpoint || checkpoint->books().empty()) return 1;
    auto& books = *checkpoint->mutable_books(0);
    books.set_decoded(books.decoded() + 1);
    store->put_checkpoint(*checkpoint);
  } catch (const walign::Error& error) {
    std::fprintf(stderr, "%s\n", error.describe().c_str());
    return 1;
  }
  return 0;
}

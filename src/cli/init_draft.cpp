// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Two tables become a rule: what has the same name goes there by itself, everything else is said.
#include <cctype>

#include "init.hpp"
#include "text.hpp"

namespace walign::cli::init {

namespace {

std::string letters_of(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c != '_' && c != ' ' && c != '-')
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return out;
}

class Drafting {
 public:
  Drafting(const Pair& pair, const Others& others)
      : source_(*pair.source), target_(*pair.target), others_(others) {
    out_.pair = pair;
  }

  Draft make() {
    say_size();
    for (const auto& target : target_.columns) place(target);
    for (const auto& source : source_.columns) {
      if (!source.generated && !placed_.contains(source.name)) {
        drop(source, cat("the target has no such column (", source.declared, "): not copied"));
      } else if (source.generated && target_.column(source.name) == nullptr) {
        remark(cat(source.name, " is generated on the source and not on the target: not copied"));
      }
    }
    return std::move(out_);
  }

 private:
  void remark(std::string text) { out_.remarks.push_back(std::move(text)); }
  void enter(const std::string& column, std::string value, std::string why) {
    out_.columns.push_back({column, std::move(value), std::move(why)});
  }
  void drop(const pg::Column& source, std::string why) {
    placed_.insert(source.name);
    enter(source.name, "false", std::move(why));
  }

  void say_size() {
    const auto rows = source_.estimated_rows < 0 ? std::string("never analysed")
                                                 : cat("about ", count_text(source_.estimated_rows), " rows");
    remark(cat(rows, ", ", bytes_text(source_.bytes)));
  }

  // A column of the source that is called the same but for how it is written, and has no place under its own name.
  [[nodiscard]] const pg::Column* alike(const pg::Column& target) const {
    const pg::Column* found = nullptr;
    for (const auto& source : source_.columns) {
      if (source.generated || target_.column(source.name) != nullptr) continue;
      if (letters_of(source.name) != letters_of(target.name)) continue;
      if (found != nullptr) return nullptr;
      found = &source;
    }
    return found;
  }

  void place(const pg::Column& target) {
    const auto* source = source_.column(target.name);
    if (source == nullptr) {
      place_other(target);
    } else if (target.generated) {
      if (!source->generated) drop(*source, "generated on the target, which computes it by itself");
    } else if (source->generated) {
      compute(target);
    } else {
      placed_.insert(source->name);
      compare(*source, target);
    }
  }

  void place_other(const pg::Column& target) {
    if (target.generated) {
      remark(cat(target.name, " is generated on the target"));
      return;
    }
    if (const auto* source = alike(target); source != nullptr) {
      placed_.insert(source->name);
      enter(target.name, yaml(source->name), "the names differ in nothing but how they are written");
      compare(*source, target);
      return;
    }
    if (target.not_null && !target.has_default && target.identity == 0) {
      out_.obstacles.push_back(
          cat("target column ", target.name, " (", target.declared,
              ") is NOT NULL and has no default, and the source has nothing of that name"));
      enter(target.name, "{ constant: \"\" }", "what should it be? name a column, or { sql: \"...\" }");
      return;
    }
    remark(cat("target only: ", target.name, " (", target.declared, ") gets ",
               target.identity != 0 ? "a number of its own"
               : target.has_default ? "its default"
                                    : "NULL"));
  }

  void compute(const pg::Column& target) {
    const auto found = others_.generated.find({name_of(source_), target.name});
    if (found == others_.generated.end()) return;
    enter(target.name, cat("{ sql: ", yaml(found->second), " }"),
          "generated on the source and so not in its stream: computed again");
  }

  void compare(const pg::Column& source, const pg::Column& target) {
    const std::string name = source.name == target.name ? source.name : cat(source.name, " -> ", target.name);
    if (source.declared != target.declared)
      remark(cat(name, " is ", source.declared, " on the source and ", target.declared, " on the target"));
    if (!source.not_null && target.not_null)
      remark(
          cat(name,
              " may be NULL on the source and not on the target: a NULL would stop the copy or the stream"));
    const bool fills = target.has_default || target.identity != 0;
    if ((source.has_default || source.identity != 0) && !fills) {
      remark(cat(
          name,
          " has a default on the source and none on the target, which after the cutover takes the new rows"));
    }
    if (target.identity == 'a')
      remark(cat(
          name,
          " is GENERATED ALWAYS AS IDENTITY on the target: walign writes the source's values all the same"));
  }

  const pg::Table& source_;
  const pg::Table& target_;
  const Others& others_;
  std::set<std::string> placed_;
  Draft out_;
};

}  // namespace

Draft draft(const Pair& pair, const Others& source) { return Drafting(pair, source).make(); }

}  // namespace walign::cli::init

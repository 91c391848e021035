// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "mapping/config_yaml.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <sstream>
#include <unordered_map>

#include "mapping/config_text.hpp"

namespace walign::config {

namespace {

// Lines of the text, to turn the parser's positions (from 0, columns in bytes) into ours.
class Lines {
 public:
  explicit Lines(std::string_view text) {
    for (std::size_t begin = 0; begin <= text.size();) {
      const auto end = std::min(text.find('\n', begin), text.size());
      lines_.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
  }

  [[nodiscard]] Place at(const YAML::Mark& mark) const {
    if (mark.is_null()) return {};
    const auto before = line(mark.line).substr(0, static_cast<std::size_t>(std::max(mark.column, 0)));
    return {mark.line + 1, static_cast<int>(count_characters(before)) + 1};
  }
  [[nodiscard]] Place at_offset(std::size_t offset) const {
    int number = 0;
    for (const auto text : lines_) {
      if (offset <= text.size())
        return {number + 1, static_cast<int>(count_characters(text.substr(0, offset))) + 1};
      offset -= text.size() + 1;
      ++number;
    }
    return {};
  }
  [[nodiscard]] bool tab_indents(int number) const {
    const auto text = line(number);
    const auto first = text.find_first_not_of(' ');
    return first != std::string_view::npos && text[first] == '\t';
  }

 private:
  [[nodiscard]] std::string_view line(int number) const {
    if (number < 0 || static_cast<std::size_t>(number) >= lines_.size()) return {};
    return lines_[static_cast<std::size_t>(number)];
  }

  std::vector<std::string_view> lines_;
};

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const Lines& lines, Document& document, std::vector<Problem>& problems)
      : lines_(lines), document_(document), problems_(problems) {}

  void OnDocumentStart(const YAML::Mark& /*mark*/) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto& node = add(NodeKind::null, mark, anchor);
    // A value that is just not there is marked where the next thing begins; its key is a better place.
    const Node* key = pending_key();
    const bool beside =
        key != nullptr && key->place.line == node.place.line && key->place.column < node.place.column;
    if (key != nullptr && !beside) node.place = key->place;
    attach(node);
  }
  void OnAlias(const YAML::Mark& /*mark*/, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    WALIGN_CHECK(found != anchors_.end());
    attach(*found->second);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    auto& node = add(NodeKind::scalar, mark, anchor);
    node.text = value;
    node.quoted = tag == "!" || tag == "tag:yaml.org,2002:str";
    if (!node.quoted) check_tag(tag, node);
    attach(node);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    open(NodeKind::sequence, mark, tag, anchor);
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    open(NodeKind::mapping, mark, tag, anchor);
  }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  Node& add(NodeKind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    auto& node = document_.nodes.emplace_back();
    node.kind = kind;
    node.place = lines_.at(mark);
    if (anchor != YAML::NullAnchor) anchors_[anchor] = &node;
    return node;
  }
  void open(NodeKind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    auto& node = add(kind, mark, anchor);
    check_tag(tag, node);
    attach(node);
    open_.push_back(&node);
  }
  void attach(const Node& node) {
    if (open_.empty()) {
      document_.root = &node;
    } else {
      open_.back()->items.push_back(&node);
    }
  }
  [[nodiscard]] const Node* pending_key() const {
    if (open_.empty() || open_.back()->kind != NodeKind::mapping) return nullptr;
    const auto& items = open_.back()->items;
    return items.size() % 2 == 1 ? items.back() : nullptr;
  }
  void check_tag(const std::string& tag, const Node& node) {
    if (tag.empty() || tag == "?" || tag == "!" || tag.starts_with("tag:yaml.org,2002:")) return;
    problems_.push_back({node.place, "a YAML tag has no meaning here", "leave it out"});
  }

  const Lines& lines_;
  Document& document_;
  std::vector<Problem>& problems_;
  std::vector<Node*> open_;  // sequences and mappings around the next node
  std::unordered_map<YAML::anchor_t, const Node*> anchors_;
};

// Notes that there is a document, and where.
class Witness : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override { start = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
  }
  void OnMapEnd() override {}

  YAML::Mark start = YAML::Mark::null_mark();
};

bool check_bytes(std::string_view yaml, const Lines& lines, std::vector<Problem>& problems) {
  if (const auto bad = first_invalid_utf8(yaml)) {
    problems.push_back(
        {lines.at_offset(*bad), cat("byte ", *bad, " is not UTF-8"), "save the file as UTF-8"});
    return false;
  }
  for (std::size_t i = 0; i < yaml.size(); ++i) {
    const auto c = static_cast<unsigned char>(yaml[i]);
    if ((c >= 0x20 && c != 0x7F) || c == '\t' || c == '\n' || c == '\r') continue;
    problems.push_back({lines.at_offset(i), cat("byte ", i, " is a control character"),
                        "remove it, or write it as \"\\xNN\" in double quotes"});
    return false;
  }
  return true;
}

Problem syntax_problem(const YAML::Exception& error, const Lines& lines) {
  // What follows a colon is a piece of the file, which could be a password.
  const auto reason = error.msg.substr(0, error.msg.find(':'));
  const int line = error.mark.line;
  const bool tab = lines.tab_indents(line) || lines.tab_indents(line - 1);
  return {lines.at(error.mark), cat("not YAML: ", reason),
          tab ? "indent with spaces; YAML does not allow tabs there"
              : "look for a missing quote, bracket or space just before"};
}

}  // namespace

Document read_yaml(const std::string& yaml, std::vector<Problem>& problems) {
  Document document;
  std::string_view body = yaml;
  if (body.starts_with("\xEF\xBB\xBF")) body.remove_prefix(3);  // a byte order mark
  const Lines lines(body);
  if (!check_bytes(body, lines, problems)) return document;
  try {
    std::istringstream stream{std::string(body)};
    YAML::Parser parser(stream);
    TreeBuilder builder(lines, document, problems);
    if (!parser.HandleNextDocument(builder)) return document;
    Witness witness;
    if (parser.HandleNextDocument(witness)) {
      problems.push_back({lines.at(witness.start), "a second YAML document begins here",
                          "one file holds one migration; run one walign for each"});
    }
  } catch (const YAML::Exception& error) {
    problems.push_back(syntax_problem(error, lines));
    document.root = nullptr;
  }
  return document;
}

}  // namespace walign::config

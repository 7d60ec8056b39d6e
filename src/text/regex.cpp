#include "text/regex.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/format.h"
#include "text/regex_program.h"

namespace corten {

CharTable::CharTable(const CharSet& set) {
  for (size_t i = 0; i < bytes_.size(); ++i)
    bytes_[i] = i >= 0x80 ? kLead : set.contains(static_cast<char32_t>(i)) ? kIn : kOut;
  // Blocks of 256 characters; the first two are "none" and "all".
  blocks_ = {{0, 0, 0, 0}, {~0ull, ~0ull, ~0ull, ~0ull}};
  auto range = set.ranges().begin();
  const auto end = set.ranges().end();
  for (uint32_t b = 0; b < index_.size(); ++b) {
    const char32_t first = b << 8, last = first + 255;
    while (range != end && range->second < first) ++range;
    if (range == end || range->first > last) {
      index_[b] = 0;
    } else if (range->first <= first && range->second >= last) {
      index_[b] = 1;
    } else {
      std::array<uint64_t, 4> bits{};
      for (auto r = range; r != end && r->first <= last; ++r)
        for (char32_t c = std::max(r->first, first); c <= std::min(r->second, last); ++c)
          bits[c >> 6 & 3] |= uint64_t{1} << (c & 63);
      index_[b] = static_cast<uint16_t>(blocks_.size());
      blocks_.push_back(bits);
    }
  }
}

namespace {

constexpr size_t kMaxInstructions = 100'000;

class Compiler {
 public:
  Compiler(std::string_view pattern, std::string_view what) : pattern_(pattern), what_(what) {}

  RegexProgram run(const RegexNode& node) {
    emit(node);
    add({.op = Op::Accept});
    const First first = first_bytes(node);
    program_.may_be_empty = first.empty;
    for (size_t byte = 0; byte < program_.entry.size(); ++byte) {
      uint32_t at = 0;
      for (const RegexInstruction* in = &program_.code[0];
           in->op == Op::Split && in->b != kNowhere && !program_.bytes[in->b][byte];
           in = &program_.code[at])
        at = in->a;
      program_.entry[byte] = first.empty || first.bytes[byte] ? at : kNowhere;
    }
    return std::move(program_);
  }

 private:
  using Kind = RegexNode::Kind;
  using Mode = RegexNode::Mode;
  using Op = RegexInstruction::Op;

  struct First {
    ByteSet bytes;
    bool empty;  // may match without taking a character
  };

  static First first_bytes(const RegexNode& node) {
    First first{{}, false};
    switch (node.kind) {
      case Kind::Set:
        for (const auto& [low, high] : node.set.ranges()) {
          for (char32_t c = low; c <= std::min<char32_t>(high, 0x7F); ++c) first.bytes.set(c);
          if (high < 0x80) continue;
          std::string a, b;
          append_utf8(a, std::max<char32_t>(low, 0x80));
          append_utf8(b, high);
          for (int lead = static_cast<uint8_t>(a[0]); lead <= static_cast<uint8_t>(b[0]); ++lead)
            first.bytes.set(static_cast<size_t>(lead));
        }
        return first;
      case Kind::Concat:
        for (const RegexNode& child : node.children) {
          const First next = first_bytes(child);
          first.bytes |= next.bytes;
          if (!next.empty) return first;
        }
        first.empty = true;
        return first;
      case Kind::Alternate:
        for (const RegexNode& child : node.children) {
          const First next = first_bytes(child);
          first.bytes |= next.bytes;
          first.empty = first.empty || next.empty;
        }
        return first;
      case Kind::Repeat:
        first = first_bytes(node.children[0]);
        first.empty = first.empty || node.least == 0;
        return first;
      case Kind::Atomic:
        return first_bytes(node.children[0]);
      default:
        first.empty = true;
        return first;
    }
  }

  uint32_t add(RegexInstruction instruction) {
    if (program_.code.size() >= kMaxInstructions)
      usage_error("{}: the pattern \"{}\" has too many repetitions", what_, pattern_);
    program_.code.push_back(instruction);
    return static_cast<uint32_t>(program_.code.size() - 1);
  }
  uint32_t here() const { return static_cast<uint32_t>(program_.code.size()); }
  void aim(uint32_t instruction) { program_.code[instruction].a = here(); }

  uint32_t add_set(const CharSet& set) {
    const auto [place, inserted] =
        set_index_.try_emplace(set.ranges(), static_cast<uint32_t>(program_.sets.size()));
    if (inserted) program_.sets.emplace_back(set);
    return place->second;
  }
  uint32_t add_split(Op op, const RegexNode& body) {
    const First first = first_bytes(body);
    uint32_t bytes = kNowhere;
    if (!first.empty) {
      bytes = static_cast<uint32_t>(program_.bytes.size());
      program_.bytes.push_back(first.bytes);
    }
    return add({.op = op, .b = bytes});
  }

  void emit(const RegexNode& node) {
    switch (node.kind) {
      case Kind::Set:
        add({.op = Op::Set, .a = add_set(node.set)});
        return;
      case Kind::Concat:
        for (const RegexNode& child : node.children) emit(child);
        return;
      case Kind::Alternate:
        return emit_alternatives(node);
      case Kind::Repeat:
        return emit_repeat(node);
      case Kind::Behind:
        return emit_behind(node);
      case Kind::Ahead:
      case Kind::Atomic: {
        const uint32_t start =
            add({.op = node.kind == Kind::Ahead ? Op::Look : Op::Atomic, .negated = node.negated});
        emit(node.children[0]);
        add({.op = Op::Accept});
        return aim(start);
      }
      case Kind::Assert:
        if (node.assertion == 'b' || node.assertion == 'B')
          add({.op = Op::WordEdge,
               .negated = node.assertion == 'B',
               .a = add_set(regex_word_set())});
        else
          add({.op = Op::Assert, .a = static_cast<uint32_t>(node.assertion)});
        return;
    }
  }

  void emit_alternatives(const RegexNode& node) {
    std::vector<uint32_t> jumps;
    for (size_t i = 0; i + 1 < node.children.size(); ++i) {
      const uint32_t split = add_split(Op::Split, node.children[i]);
      emit(node.children[i]);
      jumps.push_back(add({.op = Op::Jump}));
      aim(split);
    }
    emit(node.children.back());
    for (uint32_t jump : jumps) aim(jump);
  }

  void emit_repeat(const RegexNode& node) {
    const RegexNode& child = node.children[0];
    if (child.kind == Kind::Set && node.mode != Mode::Lazy) {
      add({.op = node.mode == Mode::Greedy ? Op::Run : Op::RunAll,
           .a = add_set(child.set),
           .least = node.least,
           .most = node.most});
      return;
    }
    const uint32_t atomic = node.mode == Mode::Possessive ? add({.op = Op::Atomic}) : kNowhere;
    const Op op = node.mode == Mode::Lazy ? Op::SplitLazy : Op::Split;
    for (uint32_t i = 0; i < node.least; ++i) emit(child);
    std::vector<uint32_t> exits;
    if (node.most == kUnbounded) {
      exits.push_back(add_split(op, child));
      emit(child);
      add({.op = Op::Jump, .a = exits.back()});
    } else {
      for (uint32_t i = node.least; i < node.most; ++i) {
        exits.push_back(add_split(op, child));
        emit(child);
      }
    }
    for (uint32_t exit : exits) aim(exit);
    if (atomic == kNowhere) return;
    add({.op = Op::Accept});
    aim(atomic);
  }

  // Characters that every match of a node has, if it is a fixed number.
  std::optional<uint32_t> fixed_length(const RegexNode& node) const {
    switch (node.kind) {
      case Kind::Set:
        return 1;
      case Kind::Concat: {
        uint32_t sum = 0;
        for (const RegexNode& child : node.children) {
          const auto length = fixed_length(child);
          if (!length) return std::nullopt;
          sum += *length;
        }
        return sum;
      }
      case Kind::Alternate: {
        const auto length = fixed_length(node.children[0]);
        for (const RegexNode& child : node.children)
          if (fixed_length(child) != length) return std::nullopt;
        return length;
      }
      case Kind::Repeat: {
        const auto length = fixed_length(node.children[0]);
        if (!length || node.least != node.most) return std::nullopt;
        return *length * node.least;
      }
      case Kind::Atomic:
        return fixed_length(node.children[0]);
      default:
        return 0;
    }
  }

  // One instruction per alternative: any of them must hold, or none if negated.
  void emit_behind(const RegexNode& node) {
    const RegexNode& body = node.children[0];
    const std::vector<RegexNode> single = {body};
    const auto& choices = body.kind == Kind::Alternate ? body.children : single;
    std::vector<uint32_t> jumps;
    for (size_t i = 0; i < choices.size(); ++i) {
      const auto length = fixed_length(choices[i]);
      if (!length)
        usage_error("{}: look-behind of varying length in the pattern \"{}\" is not supported",
                    what_, pattern_);
      const bool split = !node.negated && i + 1 < choices.size();
      const uint32_t alternative = split ? add({.op = Op::Split, .b = kNowhere}) : kNowhere;
      const uint32_t start = add({.op = Op::Behind, .negated = node.negated, .b = *length});
      emit(choices[i]);
      add({.op = Op::Accept});
      aim(start);
      if (!split) continue;
      jumps.push_back(add({.op = Op::Jump}));
      aim(alternative);
    }
    for (uint32_t jump : jumps) aim(jump);
  }

  std::string_view pattern_, what_;
  RegexProgram program_;
  std::map<std::vector<CharSet::Range>, uint32_t> set_index_;
};

}  // namespace

Regex::Regex(std::string_view pattern, std::string what) : what_(std::move(what)) {
  program_ =
      std::make_shared<RegexProgram>(Compiler(pattern, what_).run(parse_regex(pattern, what_)));
}

namespace {

// Length of the character at `position` if it is in the set, else 0.
size_t length_in(const CharTable& set, std::string_view text, size_t position) {
  if (position >= text.size()) return 0;
  const CharTable::Byte byte = set.byte(text[position]);
  if (byte != CharTable::kLead) return byte;
  char32_t c;
  const size_t length = decode_valid_utf8(text.data() + position, c);
  return set.contains(c) ? length : 0;
}

size_t step_back(std::string_view text, size_t position) {
  --position;
  while ((static_cast<unsigned char>(text[position]) & 0xC0) == 0x80) --position;
  return position;
}

bool holds(char assertion, std::string_view text, size_t position) {
  const size_t size = text.size();
  switch (assertion) {
    case '^':
      return position == 0 || (text[position - 1] == '\n' && position < size);
    case '$':
      return position == size || text[position] == '\n';
    case 'A':
      return position == 0;
    case 'z':
      return position == size;
    default:  // \Z
      return position == size || (position + 1 == size && text[position] == '\n');
  }
}

}  // namespace

size_t Regex::Matcher::match_at(uint32_t instruction, size_t position) {
  using Op = RegexInstruction::Op;
  const RegexProgram& program = *regex_.program_;
  const size_t base = choices_.size();
  for (;;) {
    const RegexInstruction& in = program.code[instruction];
    bool failed = false;
    switch (in.op) {
      case Op::Set: {
        const size_t length = length_in(program.sets[in.a], text_, position);
        position += length;
        failed = length == 0;
        ++instruction;
        break;
      }
      case Op::Run:
      case Op::RunAll: {
        const CharTable& set = program.sets[in.a];
        const size_t begin = position;
        size_t least = position;
        uint32_t count = 0;
        for (size_t length; count < in.most; ++count, position += length) {
          length = length_in(set, text_, position);
          if (length == 0) break;
          if (count == in.least) least = position;
        }
        if (count <= in.least) least = position;
        steps_ += (position - begin) / 16;
        failed = count < in.least;
        ++instruction;
        if (!failed && in.op == Op::Run && position > least)
          choices_.push_back({instruction, step_back(text_, position), least});
        break;
      }
      case Op::Split:
        ++instruction;
        if (in.b != kNowhere && (position == text_.size() ||
                                 !program.bytes[in.b][static_cast<unsigned char>(text_[position])]))
          instruction = in.a;
        else
          choices_.push_back({in.a, position, position});
        break;
      case Op::SplitLazy:
        choices_.push_back({instruction + 1, position, position});
        instruction = in.a;
        break;
      case Op::Jump:
        instruction = in.a;
        break;
      case Op::Look:
        failed = (match_at(instruction + 1, position) == std::string_view::npos) != in.negated;
        instruction = in.a;
        break;
      case Op::Behind: {
        size_t begin = position;
        uint32_t count = 0;
        for (; count < in.b && begin > 0; ++count) begin = step_back(text_, begin);
        const bool found = count == in.b && match_at(instruction + 1, begin) == position;
        failed = found == in.negated;
        instruction = in.a;
        break;
      }
      case Op::Atomic: {
        const size_t end = match_at(instruction + 1, position);
        failed = end == std::string_view::npos;
        position = end;
        instruction = in.a;
        break;
      }
      case Op::Assert:
        failed = !holds(static_cast<char>(in.a), text_, position);
        ++instruction;
        break;
      case Op::WordEdge: {
        const CharTable& word = program.sets[in.a];
        const bool before = position > 0 && length_in(word, text_, step_back(text_, position)) > 0;
        failed = (before != (length_in(word, text_, position) > 0)) == in.negated;
        ++instruction;
        break;
      }
      case Op::Accept:
        choices_.resize(base);
        return position;
      case Op::Fail:
        failed = true;
        break;
    }
    if (!failed) continue;
    if (choices_.size() == base) return std::string_view::npos;
    if (++steps_ > 20'000'000 + 100 * text_.size())
      usage_error("{}: the pattern backtracks too often in a text of {} bytes", regex_.what_,
                  text_.size());
    Choice& choice = choices_.back();
    instruction = choice.next;
    position = choice.position;
    if (position == choice.least)
      choices_.pop_back();
    else
      choice.position = step_back(text_, position);
  }
}

bool Regex::Matcher::next(size_t& begin, size_t& end) {
  const RegexProgram& program = *regex_.program_;
  const auto advance = [&](size_t position) {
    char32_t ignored;
    return position +
           (position < text_.size() ? decode_valid_utf8(text_.data() + position, ignored) : 1);
  };
  for (size_t start = position_; start <= text_.size(); start = advance(start)) {
    uint32_t entry = kNowhere;
    while (start < text_.size()) {
      entry = program.entry[static_cast<unsigned char>(text_[start])];
      if (entry != kNowhere) break;
      ++start;
    }
    if (start == text_.size()) {
      if (!program.may_be_empty) break;
      entry = 0;
    }
    end = match_at(entry, start);
    if (end == std::string_view::npos || (end == start && end == last_end_)) continue;
    begin = start;
    position_ = last_end_ = end;
    return true;
  }
  position_ = text_.size() + 1;
  return false;
}

}  // namespace corten

#include <minions/error.hpp>
#include <minions/value.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>

namespace minions {
namespace {

/// Receives nlohmann's parse events and builds a Value, refusing what our documents may not hold.
class Builder : public nlohmann::json_sax<nlohmann::json> {
  public:
    explicit Builder(std::size_t depth) : depth_(depth) {}

    bool null() override { return add(Value()); }
    bool boolean(bool value) override { return add(value); }
    bool number_integer(std::int64_t value) override { return add(static_cast<long>(value)); }
    bool number_unsigned(std::uint64_t value) override { return add(static_cast<unsigned long>(value)); }
    bool number_float(double value, const std::string&) override { return add(value); }
    bool string(std::string& value) override {
        refuse_nul(value);
        return add(std::move(value));
    }
    bool binary(nlohmann::json::binary_t&) override { return false; }
    bool start_object(std::size_t) override {
        open(Value::Object{});
        keys_.emplace_back();
        return true;
    }
    bool start_array(std::size_t) override { return open(Value::Array{}); }
    bool end_object() override {
        refuse_duplicates(*stack_.back()->if_object());
        keys_.pop_back();
        return close();
    }
    bool end_array() override { return close(); }
    bool key(std::string& name) override {
        if (name.find('\0') != std::string::npos) {
            throw Error(Code::invalid, "the JSON document has a NUL character in the name of a member");
        }
        keys_.back() = std::move(name);
        return true;
    }
    bool parse_error(std::size_t position, const std::string&,
                     const nlohmann::detail::exception& error) override {
        const std::string_view what = error.what();
        const bool encoding = what.find("UTF-8") != std::string_view::npos;
        throw Error(Code::invalid, fmt::format("the body is not valid JSON: {} at byte {}",
                                               encoding ? "ill-formed UTF-8" : "syntax error", position));
    }

    Value take() { return std::move(root_); }

  private:
    void refuse_nul(const std::string& text) const {
        if (text.find('\0') == std::string::npos) return;
        throw Error(Code::invalid,
                    keys_.empty() ? "the JSON document has a NUL character in a string"
                                  : fmt::format("field '{}' has a NUL character", fmt::join(keys_, ".")));
    }
    /// By sorting: what an object of a million members costs must not depend on who chose their names.
    void refuse_duplicates(const Value::Object& object) {
        names_.clear();
        for (const auto& member : object) names_.emplace_back(member.first);
        std::sort(names_.begin(), names_.end());
        const auto twice = std::adjacent_find(names_.begin(), names_.end());
        if (twice == names_.end()) return;
        throw Error(Code::invalid, fmt::format("the JSON document has the member '{}' twice", *twice));
    }
    Value& place(Value value) {
        if (stack_.empty()) return root_ = std::move(value);
        if (auto* array = stack_.back()->if_array()) return array->emplace_back(std::move(value));
        return stack_.back()->if_object()->emplace_back(keys_.back(), std::move(value)).second;
    }
    bool add(Value value) {
        place(std::move(value));
        return true;
    }
    bool open(Value value) {
        if (stack_.size() >= depth_) {
            throw Error(Code::invalid,
                        fmt::format("the JSON document is nested deeper than {} levels", depth_));
        }
        // Pointers into the tree stay valid: a container only grows while none of its children is open.
        stack_.push_back(&place(std::move(value)));
        return true;
    }
    bool close() {
        stack_.pop_back();
        return true;
    }

    std::size_t depth_;
    Value root_;
    std::vector<Value*> stack_;
    std::vector<std::string> keys_;        // the member that is being read, of each open object
    std::vector<std::string_view> names_;  // of the object that is being closed
};

/// The length of the well-formed UTF-8 sequence at the start of `text`, or 0 (Unicode 15, table 3-7).
std::size_t utf8_length(std::string_view text) noexcept {
    const auto at = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
    const auto tail = [&](std::size_t i) { return (at(i) & 0xC0U) == 0x80U; };
    const unsigned first = at(0);
    if (first < 0x80) return 1;
    if (first >= 0xC2 && first <= 0xDF) return tail(1) ? 2 : 0;
    if (first >= 0xE0 && first <= 0xEF) {
        const unsigned low = first == 0xE0 ? 0xA0 : 0x80;
        const unsigned high = first == 0xED ? 0x9F : 0xBF;
        return at(1) >= low && at(1) <= high && tail(2) ? 3 : 0;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        const unsigned low = first == 0xF0 ? 0x90 : 0x80;
        const unsigned high = first == 0xF4 ? 0x8F : 0xBF;
        return at(1) >= low && at(1) <= high && tail(2) && tail(3) ? 4 : 0;
    }
    return 0;
}

void append_string(std::string& out, std::string_view text) {
    out += '"';
    std::size_t plain = 0;  // start of the run that can be copied as it is
    const auto flush = [&](std::size_t end) { out.append(text, plain, end - plain); };
    for (std::size_t i = 0; i < text.size();) {
        const unsigned char c = static_cast<unsigned char>(text[i]);
        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
            ++i;
            continue;
        }
        if (c >= 0x80) {
            const std::size_t length = utf8_length(text.substr(i));
            if (length > 0) {
                i += length;
                continue;
            }
        }
        flush(i);
        switch (c) {
            case '"':
                out += "\\\"";
                break;
            case '\\':
                out += "\\\\";
                break;
            case '\n':
                out += "\\n";
                break;
            case '\r':
                out += "\\r";
                break;
            case '\t':
                out += "\\t";
                break;
            default:
                if (c < 0x20) {
                    fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
                } else {
                    out += "\xEF\xBF\xBD";
                }
        }
        plain = ++i;
    }
    flush(text.size());
    out += '"';
}

void append(std::string& out, const Value& value, int indent, int level) {
    const auto line = [&](int depth) {
        const auto columns = static_cast<std::size_t>(indent) * static_cast<std::size_t>(depth);
        if (indent > 0) out.append(1, '\n').append(columns, ' ');
    };
    if (value.is_null()) {
        out += "null";
    } else if (const auto* boolean = value.if_bool()) {
        out += *boolean ? "true" : "false";
    } else if (const auto* integer = value.if_int()) {
        fmt::format_to(std::back_inserter(out), "{}", *integer);
    } else if (const auto* number = value.if_double()) {
        // JSON has no infinities; null is what JavaScript writes for them.
        if (*number - *number == 0) {
            fmt::format_to(std::back_inserter(out), "{}", *number);
        } else {
            out += "null";
        }
    } else if (const auto* text = value.if_string()) {
        append_string(out, *text);
    } else if (const auto* array = value.if_array()) {
        out += '[';
        for (const auto& item : *array) {
            if (&item != array->data()) out += ',';
            line(level + 1);
            append(out, item, indent, level + 1);
        }
        if (!array->empty()) line(level);
        out += ']';
    } else if (const auto* object = value.if_object()) {
        out += '{';
        for (const auto& member : *object) {
            if (&member != object->data()) out += ',';
            line(level + 1);
            append_string(out, member.first);
            out += indent > 0 ? ": " : ":";
            append(out, member.second, indent, level + 1);
        }
        if (!object->empty()) line(level);
        out += '}';
    }
}

const Value null_value;

}  // namespace

Value::Value(unsigned long value) noexcept {
    if (value <= static_cast<unsigned long>(std::numeric_limits<std::int64_t>::max())) {
        data_ = static_cast<std::int64_t>(value);
    } else {
        data_ = static_cast<double>(value);
    }
}

const Value* Value::find(std::string_view name) const noexcept {
    const auto* object = if_object();
    if (object == nullptr) return nullptr;
    const auto found =
        std::find_if(object->begin(), object->end(), [&](const Member& m) { return m.first == name; });
    return found == object->end() ? nullptr : &found->second;
}

Value* Value::find(std::string_view name) noexcept {
    return const_cast<Value*>(static_cast<const Value*>(this)->find(name));
}

const Value& Value::operator[](std::string_view name) const noexcept {
    const Value* found = find(name);
    return found == nullptr ? null_value : *found;
}

Value& Value::set(std::string_view name, Value value) {
    if (if_object() == nullptr) data_ = Object{};
    if (Value* found = find(name)) {
        *found = std::move(value);
    } else {
        if_object()->emplace_back(std::string(name), std::move(value));
    }
    return *this;
}

Value& Value::push(Value value) {
    if (if_array() == nullptr) data_ = Array{};
    if_array()->push_back(std::move(value));
    return *this;
}

std::string Value::string_or(std::string_view fallback) const {
    const auto* text = if_string();
    return text == nullptr ? std::string(fallback) : *text;
}

std::int64_t Value::int_or(std::int64_t fallback) const noexcept {
    const auto* integer = if_int();
    return integer == nullptr ? fallback : *integer;
}

bool Value::bool_or(bool fallback) const noexcept {
    const auto* boolean = if_bool();
    return boolean == nullptr ? fallback : *boolean;
}

const char* Value::type_name() const noexcept {
    static constexpr const char* names[] = {"null",     "a boolean", "an integer", "a number",
                                            "a string", "an array",  "an object"};
    return names[data_.index()];
}

Value parse_json(std::string_view text, JsonLimits limits) {
    if (text.size() > limits.bytes) {
        throw Error(Code::too_large, fmt::format("the JSON document has more than {} bytes", limits.bytes));
    }
    Builder builder(limits.depth);
    nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
    return builder.take();
}

std::string to_json(const Value& value) {
    std::string out;
    append_json(out, value);
    return out;
}

void append_json(std::string& out, const Value& value) { append(out, value, 0, 0); }

std::string to_pretty_json(const Value& value) {
    std::string out;
    append(out, value, 2, 0);
    return out;
}

bool is_utf8(std::string_view text) noexcept {
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        if (length == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

}  // namespace minions

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace minions {

/// A JSON document in memory: what crosses the plugin seam, the database and the REST API.
///
/// Objects keep the order in which members were added. A value type: copying copies the tree, and distinct
/// values may be used from different threads.
class Value {
  public:
    using Array = std::vector<Value>;
    using Member = std::pair<std::string, Value>;
    using Object = std::vector<Member>;

    Value() noexcept = default;
    // A value is what a document may hold, so each of these is one without further words.
    // NOLINTBEGIN(google-explicit-constructor)
    Value(std::nullptr_t) noexcept {}
    Value(bool value) noexcept : data_(value) {}
    Value(int value) noexcept : data_(std::int64_t{value}) {}
    Value(unsigned value) noexcept : data_(std::int64_t{value}) {}
    Value(long value) noexcept : data_(std::int64_t{value}) {}
    Value(long long value) noexcept : data_(static_cast<std::int64_t>(value)) {}
    /// Sizes and counters; a value past the range of int64 becomes the nearest double.
    Value(unsigned long value) noexcept;
    Value(double value) noexcept : data_(value) {}
    Value(std::string value) noexcept : data_(std::move(value)) {}
    Value(std::string_view value) : data_(std::string(value)) {}
    Value(const char* value) : data_(std::string(value)) {}
    Value(Array value) noexcept : data_(std::move(value)) {}
    Value(Object value) noexcept : data_(std::move(value)) {}
    // NOLINTEND(google-explicit-constructor)

    /// `Value::object({{"name", "a"}, {"cpus", 2}})`
    static Value object(std::initializer_list<Member> members = {}) { return Value(Object(members)); }
    static Value array(std::initializer_list<Value> items = {}) { return Value(Array(items)); }

    bool is_null() const noexcept { return data_.index() == 0; }
    const bool* if_bool() const noexcept { return std::get_if<bool>(&data_); }
    const std::int64_t* if_int() const noexcept { return std::get_if<std::int64_t>(&data_); }
    const double* if_double() const noexcept { return std::get_if<double>(&data_); }
    const std::string* if_string() const noexcept { return std::get_if<std::string>(&data_); }
    const Array* if_array() const noexcept { return std::get_if<Array>(&data_); }
    const Object* if_object() const noexcept { return std::get_if<Object>(&data_); }
    Array* if_array() noexcept { return std::get_if<Array>(&data_); }
    Object* if_object() noexcept { return std::get_if<Object>(&data_); }

    /// The member of that name, or null where this is no object or has no such member.
    const Value* find(std::string_view name) const noexcept;
    Value* find(std::string_view name) noexcept;

    /// As find(), with a shared null value for what is absent; for reading documents of others.
    const Value& operator[](std::string_view name) const noexcept;

    /// Adds or replaces a member; a value that is not an object becomes one.
    Value& set(std::string_view name, Value value);
    /// Appends to an array; a value that is not an array becomes one.
    Value& push(Value value);

    /// The value if it has that type, else `fallback`.
    std::string string_or(std::string_view fallback) const;
    std::int64_t int_or(std::int64_t fallback) const noexcept;
    bool bool_or(bool fallback) const noexcept;

    /// "null", "a boolean", "an integer", "a number", "a string", "an array", "an object".
    const char* type_name() const noexcept;

    friend bool operator==(const Value&, const Value&) = default;

  private:
    std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Array, Object> data_;
};

/// Bounds for parse_json(); what exceeds one is refused, never cut.
struct JsonLimits {
    std::size_t depth = 32;
    std::size_t bytes = std::size_t{64} << 20;
};

/// Parses exactly one RFC 8259 document. Refuses duplicate keys, invalid UTF-8, NUL in strings, nesting
/// beyond the limit and anything after the document. Throws Error{invalid} that says where.
Value parse_json(std::string_view text, JsonLimits limits = {});

/// The compact text of `value`. Bytes of strings that are not UTF-8 become U+FFFD.
std::string to_json(const Value& value);

/// Appends to_json(value) to `out`.
void append_json(std::string& out, const Value& value);

/// As to_json, indented by two spaces, for people.
std::string to_pretty_json(const Value& value);

/// Whether `text` is well-formed UTF-8 (no surrogates, no overlong forms).
bool is_utf8(std::string_view text) noexcept;

}  // namespace minions

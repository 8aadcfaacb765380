#pragma once

#include <minions/error.hpp>
#include <minions/value.hpp>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace minions {

/// What is said of a field beside its name. Bounds of integers are inclusive; `max_size` counts bytes of
/// strings and elements of arrays and maps.
struct Field {
    bool required = false;
    bool secret = false;  ///< encode() leaves the value out where it is asked to redact
    std::int64_t min = std::numeric_limits<std::int64_t>::min();
    std::int64_t max = std::numeric_limits<std::int64_t>::max();
    std::size_t max_size = std::numeric_limits<std::size_t>::max();
    const char* doc = "";
};

/// A struct takes part in the codec by listing its fields once:
///
///     struct ResizeSpec {
///         std::optional<int> cpus;
///         template <class Self, class Visit>
///         static void fields(Self& self, Visit&& visit) {
///             visit("cpus", self.cpus, Field{.min = 1, .max = 256});
///         }
///     };
///
/// Members may be bool, integers, double, std::string, enums with EnumWords, Value, std::optional,
/// std::vector, std::map<std::string, …> and other such structs. An absent member keeps its default; an
/// optional that is absent or null is nullopt. Encoding writes an empty optional as null.
template <class T>
concept Described = requires(T& self) {
    T::fields(self, [](const char*, auto&, const Field& = {}) {});
};

/// Specialise for an enum to give its words, in the order of its values from 0:
///     template <> struct EnumWords<Color> { static constexpr std::string_view words[] = {"red", "green"}; };
template <class T>
struct EnumWords;

template <class T>
concept WordEnum = std::is_enum_v<T> && requires {
    EnumWords<T>::words;
};

template <WordEnum T>
constexpr std::string_view word_of(T value) noexcept {
    return EnumWords<T>::words[static_cast<std::size_t>(value)];
}

enum class Unknown {
    refuse,  ///< a member that no field has is an Error{invalid} naming it and its nearest neighbour
    ignore,  ///< replies and events of a newer version
};

enum class Secrets { keep, redact };

namespace detail {

/// Where a decoder is, for messages: "field 'limits.cpus'". A chain on the stack; nothing is built unless it
/// fails.
struct Path {
    const Path* parent = nullptr;
    std::string_view name;
    std::size_t index = 0;
    bool is_index = false;
    std::string text() const;
};

[[noreturn]] void fail_type(const Path& path, const char* expected, const Value& got);
[[noreturn]] void fail_range(const Path& path, const Field& field);
[[noreturn]] void fail_size(const Path& path, const Field& field, const char* unit);
[[noreturn]] void fail_missing(const Path& path);
[[noreturn]] void fail_word(const Path& path, const std::string_view* words, std::size_t count,
                            std::string_view got);
[[noreturn]] void fail_unknown(const Path& path, const std::vector<std::string_view>& known,
                               std::string_view got);
std::int64_t to_integer(const Path& path, const Field& field, const Value& value);

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;
template <class T>
inline constexpr bool is_vector = false;
template <class T>
inline constexpr bool is_vector<std::vector<T>> = true;
template <class T>
inline constexpr bool is_map = false;
template <class T>
inline constexpr bool is_map<std::map<std::string, T>> = true;

template <class T>
void decode_into(T& out, const Value& value, const Path& path, const Field& field, Unknown unknown);

/// Throws for the first member of `object` that no field of T has, if there is one.
template <Described T>
void refuse_unknown(T& of, const Value::Object& object, const Path& path) {
    std::vector<std::string_view> known;
    T::fields(of, [&](const char* name, auto&, const Field& = {}) { known.emplace_back(name); });
    for (const auto& [name, ignored] : object) {
        bool expected = false;
        for (const auto word : known) expected = expected || word == name;
        if (!expected) fail_unknown(path, known, name);
    }
}

template <Described T>
void decode_struct(T& out, const Value& value, const Path& path, Unknown unknown) {
    const auto* object = value.if_object();
    if (object == nullptr) fail_type(path, "an object", value);
    std::size_t used = 0;
    T::fields(out, [&](const char* name, auto& member, const Field& field = {}) {
        const Path here{&path, name};
        const Value* found = value.find(name);
        if (found == nullptr) {
            if (!field.required) return;
            // A misspelt name is told before the one that is missing because of it.
            if (unknown == Unknown::refuse) refuse_unknown(out, *object, path);
            fail_missing(here);
        }
        ++used;
        decode_into(member, *found, here, field, unknown);
    });
    if (unknown == Unknown::refuse && used != object->size()) refuse_unknown(out, *object, path);
}

template <class T>
void decode_into(T& out, const Value& value, const Path& path, const Field& field, Unknown unknown) {
    if constexpr (std::is_same_v<T, Value>) {
        out = value;
    } else if constexpr (is_optional<T>) {
        if (value.is_null()) {
            out.reset();
        } else {
            decode_into(out.emplace(), value, path, field, unknown);
        }
    } else if constexpr (std::is_same_v<T, bool>) {
        const bool* held = value.if_bool();
        if (held == nullptr) fail_type(path, "true or false", value);
        out = *held;
    } else if constexpr (WordEnum<T>) {
        const std::string* held = value.if_string();
        constexpr auto& words = EnumWords<T>::words;
        if (held == nullptr) fail_type(path, "a string", value);
        for (std::size_t i = 0; i < std::size(words); ++i) {
            if (words[i] == *held) {
                out = static_cast<T>(i);
                return;
            }
        }
        fail_word(path, std::data(words), std::size(words), *held);
    } else if constexpr (std::is_integral_v<T>) {
        Field bounded = field;
        if constexpr (sizeof(T) < 8) {
            bounded.min = std::max<std::int64_t>(field.min, std::numeric_limits<T>::min());
            bounded.max = std::min<std::int64_t>(field.max, std::numeric_limits<T>::max());
        } else if constexpr (std::is_unsigned_v<T>) {
            bounded.min = std::max<std::int64_t>(field.min, 0);
        }
        out = static_cast<T>(to_integer(path, bounded, value));
    } else if constexpr (std::is_floating_point_v<T>) {
        if (const auto* number = value.if_double()) {
            out = *number;
        } else if (const auto* integer = value.if_int()) {
            out = static_cast<T>(*integer);
        } else {
            fail_type(path, "a number", value);
        }
        if (out < static_cast<T>(field.min) || out > static_cast<T>(field.max)) fail_range(path, field);
    } else if constexpr (std::is_same_v<T, std::string>) {
        const std::string* held = value.if_string();
        if (held == nullptr) fail_type(path, "a string", value);
        if (held->size() > field.max_size) fail_size(path, field, "bytes");
        out = *held;
    } else if constexpr (is_vector<T>) {
        const auto* array = value.if_array();
        if (array == nullptr) fail_type(path, "an array", value);
        if (array->size() > field.max_size) fail_size(path, field, "elements");
        out.clear();
        out.reserve(array->size());
        for (std::size_t i = 0; i < array->size(); ++i) {
            typename T::value_type item{};
            Field of_item = field;
            of_item.max_size = std::numeric_limits<std::size_t>::max();
            decode_into(item, (*array)[i], Path{&path, {}, i, true}, of_item, unknown);
            out.push_back(std::move(item));
        }
    } else if constexpr (is_map<T>) {
        const auto* object = value.if_object();
        if (object == nullptr) fail_type(path, "an object", value);
        if (object->size() > field.max_size) fail_size(path, field, "members");
        out.clear();
        for (const auto& [name, member] : *object) {
            Field of_item = field;
            of_item.max_size = std::numeric_limits<std::size_t>::max();
            decode_into(out[name], member, Path{&path, name}, of_item, unknown);
        }
    } else {
        static_assert(Described<T>, "this type lists no fields");
        decode_struct(out, value, path, unknown);
    }
}

/// The same shape with every leaf string replaced by "***": keys stay readable, values do not.
Value redacted(Value value);

template <class T>
Value encode_value(const T& in, Secrets secrets);

}  // namespace detail

/// Throws Error{invalid} naming the field and what it should be.
template <class T>
T decode(const Value& value, Unknown unknown = Unknown::refuse) {
    T out{};
    detail::decode_into(out, value, detail::Path{}, Field{}, unknown);
    return out;
}

template <class T>
Value encode(const T& in, Secrets secrets = Secrets::keep) {
    return detail::encode_value(in, secrets);
}

/// A JSON Schema object (as OpenAPI 3.1 uses it) of T, made from the same list of fields.
template <class T>
Value schema_of();

/// The word of `known` closest to `got` by edit distance, or empty if none is near; for "did you mean".
std::string_view nearest_word(std::string_view got, const std::vector<std::string_view>& known);

namespace detail {

template <class T>
Value encode_value(const T& in, Secrets secrets) {
    if constexpr (std::is_same_v<T, Value>) {
        return in;
    } else if constexpr (is_optional<T>) {
        return in ? encode_value(*in, secrets) : Value();
    } else if constexpr (WordEnum<T>) {
        return Value(word_of(in));
    } else if constexpr (is_vector<T>) {
        Value::Array array;
        array.reserve(in.size());
        for (const auto& item : in) array.push_back(encode_value(item, secrets));
        return array;
    } else if constexpr (is_map<T>) {
        Value::Object object;
        object.reserve(in.size());
        for (const auto& [name, item] : in) object.emplace_back(name, encode_value(item, secrets));
        return object;
    } else if constexpr (Described<const T> || Described<T>) {
        Value::Object object;
        T::fields(in, [&](const char* name, const auto& member, const Field& field = {}) {
            if (field.secret && secrets == Secrets::redact) {
                object.emplace_back(name, redacted(encode_value(member, Secrets::keep)));
            } else {
                object.emplace_back(name, encode_value(member, secrets));
            }
        });
        return object;
    } else {
        return Value(in);
    }
}

template <class T>
Value schema_value(const Field& field) {
    Value schema = Value::object();
    if constexpr (is_optional<T>) {
        schema = schema_value<typename T::value_type>(field);
        Value types = Value::array();
        if (const Value* type = schema.find("type")) {
            types.push(*type);
            types.push("null");
            schema.set("type", std::move(types));
        }
        return schema;
    } else if constexpr (std::is_same_v<T, Value>) {
    } else if constexpr (std::is_same_v<T, bool>) {
        schema.set("type", "boolean");
    } else if constexpr (WordEnum<T>) {
        schema.set("type", "string");
        Value words = Value::array();
        for (const auto word : EnumWords<T>::words) words.push(word);
        schema.set("enum", std::move(words));
    } else if constexpr (std::is_arithmetic_v<T>) {
        schema.set("type", std::is_integral_v<T> ? "integer" : "number");
        if (field.min != std::numeric_limits<std::int64_t>::min()) schema.set("minimum", field.min);
        if (field.max != std::numeric_limits<std::int64_t>::max()) schema.set("maximum", field.max);
    } else if constexpr (std::is_same_v<T, std::string>) {
        schema.set("type", "string");
        if (field.max_size != std::numeric_limits<std::size_t>::max())
            schema.set("maxLength", field.max_size);
    } else if constexpr (is_vector<T>) {
        schema.set("type", "array");
        schema.set("items", schema_value<typename T::value_type>({}));
    } else if constexpr (is_map<T>) {
        schema.set("type", "object");
        schema.set("additionalProperties", schema_value<typename T::mapped_type>({}));
    } else {
        static_assert(Described<T>);
        schema.set("type", "object");
        Value properties = Value::object();
        Value required = Value::array();
        T prototype{};
        T::fields(prototype, [&](const char* name, auto& member, const Field& of_member = {}) {
            Value inner = schema_value<std::remove_cvref_t<decltype(member)>>(of_member);
            if (*of_member.doc != '\0') inner.set("description", of_member.doc);
            if (of_member.secret) inner.set("writeOnly", true);
            properties.set(name, std::move(inner));
            if (of_member.required) required.push(name);
        });
        schema.set("properties", std::move(properties));
        if (!required.if_array()->empty()) schema.set("required", std::move(required));
    }
    return schema;
}

}  // namespace detail

template <class T>
Value schema_of() {
    return detail::schema_value<T>({});
}

}  // namespace minions

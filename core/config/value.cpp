#include "core/config/schema.hpp"

#include <minions/codec.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

namespace minions::core {
namespace {

constexpr std::string_view type_words[] = {"string", "integer", "number",  "boolean",
                                           "list",   "size",    "duration"};

struct Unit {
    std::string_view name;
    std::int64_t factor;
};
constexpr Unit size_units[] = {
    {"", 1},          {"B", 1},           {"KiB", 1LL << 10}, {"K", 1LL << 10},   {"MiB", 1LL << 20},
    {"M", 1LL << 20}, {"GiB", 1LL << 30}, {"G", 1LL << 30},   {"TiB", 1LL << 40}, {"T", 1LL << 40}};
constexpr Unit duration_units[] = {{"", 1000},    {"s", 1000},      {"ms", 1},
                                   {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};

std::string_view trimmed(std::string_view text) {
    const auto first = text.find_first_not_of(" \t");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::string expected(const ConfigKey& key) {
    std::string what;
    switch (key.type) {
        case KeyType::integer:
            what = "an integer";
            break;
        case KeyType::number:
            what = "a number";
            break;
        case KeyType::size:
            what = "a size in bytes or with a unit (KiB, MiB, GiB)";
            break;
        case KeyType::duration:
            what = "a time in seconds or with a unit (ms, s, m, h, d)";
            break;
        default:
            return "true or false";
    }
    const bool low = key.min != std::numeric_limits<std::int64_t>::min();
    const bool high = key.max != std::numeric_limits<std::int64_t>::max();
    if (low && high) return fmt::format("{} from {} to {}", what, key.min, key.max);
    if (low) return fmt::format("{} of at least {}", what, key.min);
    if (high) return fmt::format("{} of at most {}", what, key.max);
    return what;
}

[[noreturn]] void refuse(const ConfigKey& key, std::string_view text) {
    throw Error(Code::invalid,
                fmt::format("must be {}, and is '{}'", expected(key), key.secret ? "***" : text));
}

std::optional<std::int64_t> to_integer(std::string_view text, std::string_view& rest) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end == text.data()) return std::nullopt;
    rest = trimmed(text.substr(static_cast<std::size_t>(end - text.data())));
    return number;
}

template <std::size_t N>
std::optional<std::int64_t> with_unit(std::string_view text, const Unit (&units)[N]) {
    std::string_view rest;
    const auto number = to_integer(text, rest);
    if (!number || *number < 0) return std::nullopt;
    for (const auto& unit : units) {
        if (unit.name != rest) continue;
        std::int64_t product = 0;
        if (__builtin_mul_overflow(*number, unit.factor, &product)) return std::nullopt;
        return product;
    }
    return std::nullopt;
}

bool within(const ConfigKey& key, std::int64_t value, std::int64_t scale = 1) {
    std::int64_t low = 0;
    std::int64_t high = 0;
    if (__builtin_mul_overflow(key.min, scale, &low)) low = std::numeric_limits<std::int64_t>::min();
    if (__builtin_mul_overflow(key.max, scale, &high)) high = std::numeric_limits<std::int64_t>::max();
    return value >= low && value <= high;
}

Value parse_boolean(const ConfigKey& key, std::string_view text) {
    for (const auto* yes : {"true", "yes", "on", "1"}) {
        if (text == yes) return true;
    }
    for (const auto* no : {"false", "no", "off", "0"}) {
        if (text == no) return false;
    }
    refuse(key, text);
}

Value parse_number(const ConfigKey& key, std::string_view text) {
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(number) ||
        number < static_cast<double>(key.min) || number > static_cast<double>(key.max)) {
        refuse(key, text);
    }
    return number;
}

void check_word(const ConfigKey& key, std::string_view text) {
    if (key.words.empty() || std::find(key.words.begin(), key.words.end(), text) != key.words.end()) return;
    const auto nearest =
        nearest_word(text, std::vector<std::string_view>(key.words.begin(), key.words.end()));
    throw Error(Code::invalid,
                fmt::format("must be {} of {}, and is '{}'", key.type == KeyType::list ? "a list" : "one",
                            fmt::join(key.words, ", "), text),
                nearest.empty() ? "" : fmt::format("did you mean '{}'?", nearest));
}

Value parse_list(const ConfigKey& key, std::string_view text) {
    Value::Array elements;
    while (!text.empty()) {
        const auto comma = std::min(text.find(','), text.size());
        const auto element = trimmed(text.substr(0, comma));
        if (!element.empty()) {
            check_word(key, element);
            if (key.check != nullptr) key.check(element);
            elements.emplace_back(element);
        }
        text.remove_prefix(std::min(comma + 1, text.size()));
    }
    return elements;
}

}  // namespace

std::string_view to_word(KeyType type) noexcept { return type_words[static_cast<std::size_t>(type)]; }

ConfigKey config_key_of(const minions_config_key& key) {
    ConfigKey made;
    made.name = key.name;
    made.default_value = key.default_value == nullptr ? "" : key.default_value;
    made.min = key.min;
    made.max = key.max;
    made.doc = key.doc == nullptr ? "" : key.doc;
    made.secret = (key.flags & MINIONS_CONFIG_SECRET) != 0;
    made.required = (key.flags & MINIONS_CONFIG_REQUIRED) != 0;
    const auto* found = std::find(std::begin(type_words), std::end(type_words), key.type);
    if (found == std::end(type_words)) {
        throw Error(Code::invalid,
                    fmt::format("configuration key '{}' has the unknown type '{}'", key.name, key.type),
                    "build the plugin with the SDK of this version, or upgrade the daemon");
    }
    made.type = static_cast<KeyType>(found - std::begin(type_words));
    return made;
}

Value parse_config_value(const ConfigKey& key, std::string_view given) {
    const auto text = trimmed(given);
    switch (key.type) {
        case KeyType::string:
            check_word(key, text);
            if (key.check != nullptr) key.check(text);
            return text;
        case KeyType::list:
            return parse_list(key, text);
        case KeyType::boolean:
            return parse_boolean(key, text);
        case KeyType::number:
            return parse_number(key, text);
        case KeyType::integer: {
            std::string_view rest;
            const auto number = to_integer(text, rest);
            if (!number || !rest.empty() || !within(key, *number)) refuse(key, text);
            if (key.check != nullptr) key.check(text);
            return *number;
        }
        case KeyType::size: {
            const auto bytes = with_unit(text, size_units);
            if (!bytes || !within(key, *bytes)) refuse(key, text);
            return *bytes;
        }
        case KeyType::duration: {
            const auto time = with_unit(text, duration_units);
            if (!time || !within(key, *time, 1000)) refuse(key, text);
            return *time;
        }
    }
    refuse(key, text);
}

}  // namespace minions::core

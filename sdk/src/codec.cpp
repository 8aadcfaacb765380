#include <minions/codec.hpp>

#include <fmt/format.h>

#include <cmath>
#include <numeric>

namespace minions {
namespace detail {

std::string Path::text() const {
    if (parent == nullptr) return std::string(name);
    const std::string before = parent->text();
    if (is_index) return fmt::format("{}[{}]", before, index);
    return before.empty() ? std::string(name) : fmt::format("{}.{}", before, name);
}

namespace {

std::string subject(const Path& path) {
    const std::string text = path.text();
    return text.empty() ? "the document" : fmt::format("field '{}'", text);
}

}  // namespace

void fail_type(const Path& path, const char* expected, const Value& got) {
    throw Error(Code::invalid,
                fmt::format("{} must be {}, not {}", subject(path), expected, got.type_name()));
}

void fail_range(const Path& path, const Field& field) {
    const bool low = field.min != std::numeric_limits<std::int64_t>::min();
    const bool high = field.max != std::numeric_limits<std::int64_t>::max();
    if (low && high) {
        throw Error(Code::invalid,
                    fmt::format("{} must be between {} and {}", subject(path), field.min, field.max));
    }
    throw Error(Code::invalid, fmt::format("{} must be at {} {}", subject(path), low ? "least" : "most",
                                           low ? field.min : field.max));
}

void fail_size(const Path& path, const Field& field, const char* unit) {
    throw Error(Code::invalid,
                fmt::format("{} must have at most {} {}", subject(path), field.max_size, unit));
}

void fail_missing(const Path& path) {
    throw Error(Code::invalid, fmt::format("{} is required", subject(path)));
}

void fail_word(const Path& path, const std::string_view* words, std::size_t count, std::string_view got) {
    const std::vector<std::string_view> known(words, words + count);
    throw Error(Code::invalid, fmt::format("{} must be one of {}, not '{}'", subject(path),
                                           fmt::join(known, ", "), got.substr(0, 64)));
}

void fail_unknown(const Path& path, const std::vector<std::string_view>& known, std::string_view got) {
    const Path here{&path, got.substr(0, 64)};
    const std::string_view near = nearest_word(got, known);
    throw Error(Code::invalid, fmt::format("{} is unknown", subject(here)),
                !near.empty()   ? fmt::format("did you mean '{}'?", near)
                : known.empty() ? "there are no fields here"
                                : fmt::format("the fields are {}", fmt::join(known, ", ")));
}

std::int64_t to_integer(const Path& path, const Field& field, const Value& value) {
    std::int64_t number = 0;
    if (const auto* integer = value.if_int()) {
        number = *integer;
    } else if (const auto* real = value.if_double(); real != nullptr && *real == std::floor(*real)) {
        if (std::abs(*real) >= 9007199254740992.0)
            fail_range(path, field);  // beyond what a double holds exactly
        number = static_cast<std::int64_t>(*real);
    } else {
        fail_type(path, "an integer", value);
    }
    if (number < field.min || number > field.max) fail_range(path, field);
    return number;
}

Value redacted(Value value) {
    if (value.if_string() != nullptr) return "***";
    if (auto* array = value.if_array()) {
        for (auto& item : *array) item = redacted(std::move(item));
    } else if (auto* object = value.if_object()) {
        for (auto& member : *object) member.second = redacted(std::move(member.second));
    }
    return value;
}

}  // namespace detail

std::string_view nearest_word(std::string_view got, const std::vector<std::string_view>& known) {
    if (got.size() > 64) return {};
    std::string_view best;
    std::size_t best_distance = got.size() / 3 + 2;  // farther than this is another word, not a slip
    for (const auto word : known) {
        std::vector<std::size_t> row(got.size() + 1);
        std::iota(row.begin(), row.end(), std::size_t{0});
        for (std::size_t i = 1; i <= word.size(); ++i) {
            std::size_t diagonal = row[0]++;
            for (std::size_t j = 1; j <= got.size(); ++j) {
                const std::size_t substitute = diagonal + (word[i - 1] == got[j - 1] ? 0 : 1);
                diagonal = row[j];
                row[j] = std::min({substitute, row[j] + 1, row[j - 1] + 1});
            }
        }
        if (row.back() < best_distance) {
            best_distance = row.back();
            best = word;
        }
    }
    return best;
}

}  // namespace minions

#include <minions/base/time.hpp>

#include <cstdint>
#include <cstdio>

namespace minions {
namespace {

using std::chrono::duration_cast;

/// Takes exactly `digits` decimal digits off the front.
std::optional<int> take_number(std::string_view& text, std::size_t digits) {
    if (text.size() < digits) return std::nullopt;
    int value = 0;
    for (const char each : text.substr(0, digits)) {
        if (each < '0' || each > '9') return std::nullopt;
        value = value * 10 + (each - '0');
    }
    text.remove_prefix(digits);
    return value;
}

bool take(std::string_view& text, std::string_view one_of) {
    if (text.empty() || one_of.find(text[0]) == std::string_view::npos) return false;
    text.remove_prefix(1);
    return true;
}

std::optional<std::chrono::sys_days> take_date(std::string_view& text) {
    const auto year = take_number(text, 4);
    if (!year || !take(text, "-")) return std::nullopt;
    const auto month = take_number(text, 2);
    if (!month || !take(text, "-")) return std::nullopt;
    const auto day = take_number(text, 2);
    if (!day || *year < 1678 || *year > 2261) return std::nullopt;
    const std::chrono::year_month_day date{std::chrono::year(*year),
                                           std::chrono::month(static_cast<unsigned>(*month)),
                                           std::chrono::day(static_cast<unsigned>(*day))};
    if (!date.ok()) return std::nullopt;
    return std::chrono::sys_days(date);
}

std::optional<std::chrono::nanoseconds> take_fraction(std::string_view& text) {
    std::chrono::nanoseconds fraction{0};
    if (!take(text, ".")) return fraction;
    std::int64_t unit = 100'000'000;
    std::size_t digits = 0;
    for (; !text.empty() && text[0] >= '0' && text[0] <= '9'; ++digits) {
        fraction += std::chrono::nanoseconds(unit * (text[0] - '0'));
        unit /= 10;
        text.remove_prefix(1);
    }
    if (digits == 0) return std::nullopt;
    return fraction;
}

std::optional<std::chrono::minutes> take_offset(std::string_view& text) {
    if (take(text, "Zz")) return std::chrono::minutes(0);
    const bool west = !text.empty() && text[0] == '-';
    if (!take(text, "+-")) return std::nullopt;
    const auto hours = take_number(text, 2);
    if (!hours || *hours > 23 || !take(text, ":")) return std::nullopt;
    const auto minutes = take_number(text, 2);
    if (!minutes || *minutes > 59) return std::nullopt;
    const std::chrono::minutes offset(*hours * 60 + *minutes);
    return west ? -offset : offset;
}

std::string format(Time time, bool milliseconds) {
    const auto days = std::chrono::floor<std::chrono::days>(time);
    const std::chrono::year_month_day date{days};
    const auto rest =
        duration_cast<std::chrono::milliseconds>(std::chrono::floor<std::chrono::milliseconds>(time) - days);
    const long ms = static_cast<long>(rest.count());
    char text[64];
    int size =
        std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02ld:%02ld:%02ld", static_cast<int>(date.year()),
                      static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), ms / 3'600'000,
                      ms / 60'000 % 60, ms / 1000 % 60);
    std::string result(text, static_cast<std::size_t>(size));
    if (milliseconds) {
        size = std::snprintf(text, sizeof text, ".%03ld", ms % 1000);
        result.append(text, static_cast<std::size_t>(size));
    }
    return result + "Z";
}

}  // namespace

std::string format_time(Time time) { return format(time, false); }
std::string format_time_ms(Time time) { return format(time, true); }

std::optional<Time> parse_time(std::string_view text) {
    const auto date = take_date(text);
    if (!date || !take(text, "Tt ")) return std::nullopt;
    const auto hour = take_number(text, 2);
    if (!hour || *hour > 23 || !take(text, ":")) return std::nullopt;
    const auto minute = take_number(text, 2);
    if (!minute || *minute > 59 || !take(text, ":")) return std::nullopt;
    const auto second = take_number(text, 2);
    if (!second || *second > 60) return std::nullopt;  // 60: a leap second
    const auto fraction = take_fraction(text);
    if (!fraction) return std::nullopt;
    const auto offset = take_offset(text);
    if (!offset || !text.empty()) return std::nullopt;
    const auto span =
        std::chrono::hours(*hour) + std::chrono::minutes(*minute) + std::chrono::seconds(*second);
    return *date + span + duration_cast<Time::duration>(*fraction) - *offset;
}

}  // namespace minions

#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace minions {

using Time = std::chrono::system_clock::time_point;

/// "2026-02-18T10:00:00Z": RFC 3339 in UTC, fractions cut off.
std::string format_time(Time time);

/// "2026-02-18T10:00:00.123Z".
std::string format_time_ms(Time time);

/// Reads RFC 3339 with any number of fractional digits and any offset
/// ("2026-02-18T10:00:00.123456789+02:00"). Digits finer than a nanosecond are dropped. Returns nothing for
/// other texts, and for years that the clock cannot hold (before 1678 or after 2261): so also for
/// "0001-01-01T00:00:00Z", by which Docker says "never".
std::optional<Time> parse_time(std::string_view text);

}  // namespace minions
